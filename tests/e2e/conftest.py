"""Fixtures of the tests on the kind cluster.

Without a cluster they are skipped; KGDIAG_E2E_REQUIRED=1 makes that a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.lab import Cluster, find_cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder is an e2e test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The kind cluster that `make e2e-up` brought up."""
    found = find_cluster()
    if isinstance(found, Cluster):
        return found
    if os.environ.get("KGDIAG_E2E_REQUIRED") == "1":
        pytest.fail(found)
    pytest.skip(found)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A throw-away namespace without sidecar injection."""
    with cluster.namespace() as name:
        yield name


@pytest.fixture
def mesh_namespace(cluster: Cluster) -> Iterator[str]:
    """A throw-away namespace whose pods get a sidecar."""
    with cluster.namespace(istio_injection="enabled") as name:
        yield name
