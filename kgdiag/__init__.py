"""kgdiag: where a request through a Kubernetes gateway goes, and why it does not arrive."""

__version__ = "0.1.0"
