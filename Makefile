# make help lists the targets; the first that needs it makes the virtual environment.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SEED ?= 1
N ?= 20
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22

$(VENV)/.ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable . --group dev
	touch $@

dev: $(VENV)/.ready ## the virtual environment with everything for development

demo: $(VENV)/.ready ## the main job on bundled input, without a cluster
	$(BIN)/kgdiag explain svc/knative-local-gateway -n istio-system -f examples/kubeflow.yaml
	@echo; echo "--- and where only half of the patch was applied:"; echo
	$(BIN)/kgdiag explain svc/knative-local-gateway -n istio-system -f examples/kubeflow-half-patched.yaml || test $$? -eq 1

fmt: $(VENV)/.ready ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(VENV)/.ready ## ruff and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: $(VENV)/.ready ## the tests that need no cluster
	$(BIN)/pytest --ignore tests/e2e -n 2

docs: $(VENV)/.ready ## write the generated pages
	$(BIN)/python scripts/make_rules_doc.py

docs-check: $(VENV)/.ready ## the generated pages are current
	$(BIN)/python scripts/make_rules_doc.py --check

check: lint test docs-check ## all that CI runs without a cluster

e2e-up: ## a kind cluster with Istio and Envoy Gateway (needs Docker, kind, kubectl, istioctl, helm)
	kind-configs/up

e2e: $(VENV)/.ready ## the tests on that cluster
	KGDIAG_E2E_REQUIRED=1 $(BIN)/pytest tests/e2e

differential: $(VENV)/.ready ## random configurations on that cluster against predictions: SEED=, N= configurations
	$(BIN)/python -m tests.e2e.differential.rounds $(SEED) $(N)

envoy-differential: $(VENV)/.ready ## random requests to real Envoys against predictions: SEED=, N= requests
	$(BIN)/python -m tests.envoy.differential $(SEED) $(N)

e2e-down: ## delete that cluster
	kind-configs/down

.PHONY: help dev demo fmt lint test docs docs-check check e2e-up e2e differential envoy-differential e2e-down
