"""What the tests of `kgdiag check` share: the command, as a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kgdiag.cli.commands import run
from tests.test_scenarios import Case, cases

Run = Callable[..., tuple[int, str, str]]

# Two faults on two objects: a VirtualService whose gateway is misspelt, a Service whose selector is.
SHOP = """\
apiVersion: v1
kind: Namespace
metadata:
  name: shop
---
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
spec:
  selector:
    app: wbe  # as it was typed
  ports:
    - {name: http, port: 80, targetPort: 8080}
---
apiVersion: v1
kind: Pod
metadata:
  name: web-0
  namespace: shop
  labels: {app: web}
spec:
  containers:
    - name: web
      image: example.com/web:1
      ports: [{containerPort: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  namespace: shop
spec:
  ingressClassName: ngnix
  rules:
    - host: shop.example.com
      http:
        paths:
          - path: /
            pathType: Prefix
            backend:
              service:
                name: web
                port: {number: 80}
"""


def case(name: str) -> Case:
    """A scenario or a variant of one, by ``folder`` or ``folder/variant``."""
    return next(item for item in cases() if item.name == name)


def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """`kgdiag check` with these arguments: (exit code, standard output, standard error)."""

    def check(*argv: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["check", *(str(arg) for arg in argv)])
        read = capsys.readouterr()
        return code, read.out, read.err

    return check


def report(check: Run, *argv: object) -> Any:
    """The report as JSON."""
    _, out, err = check(*argv, "-o", "json")
    assert out, err
    return json.loads(out)


def ids(document: Any) -> list[str]:
    """The rules of a report's findings."""
    return [item["rule"] for item in document["findings"]]


def written(folder: Path, text: str, name: str = "cluster.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path
