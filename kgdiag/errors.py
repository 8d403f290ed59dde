"""Everything that ends a run without a result.

::

    KgdiagError            what happened, on what, and what to do next
    ├── UsageError         2  the command line asks for something that cannot be: option, kind, context
    ├── InputError         2  a file, a kubeconfig or standard input is missing, unreadable or invalid
    ├── NotFoundError      2  the object that was asked for does not exist where it was looked for
    ├── ConnectionFailed   3  no cluster answered: unreachable, not trusted, not authenticated
    └── ReadFailed         3  the cluster answered, but what the verdict needs could not be read

The number is the exit code of the contract. A single read that fails is no exception but a ``Read`` with its
status; only what leaves nothing to say is raised. Texts may hold what a server or a file sent, so whoever
prints them escapes them like everything else.
"""

from __future__ import annotations


class KgdiagError(Exception):
    """A run that ends without a result.

    ``message`` says what happened, ``subject`` names the object, option or file where there is one
    (``--context prod``, ``Service istio-system/x``, ``gw.yaml:12``), ``hint`` says what to do next.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "", subject: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.subject = subject

    def __str__(self) -> str:
        """``subject: message``, then the hint on a line of its own."""
        head = f"{self.subject}: {self.message}" if self.subject else self.message
        return f"{head}\n{self.hint}" if self.hint else head


class UsageError(KgdiagError):
    """The command line asks for something that cannot be."""


class InputError(KgdiagError):
    """A file, a kubeconfig or standard input is missing, unreadable or invalid; ``subject`` is its place."""


class NotFoundError(KgdiagError):
    """The object that was asked for does not exist; the hint has near names."""


class ConnectionFailed(KgdiagError):  # noqa: N818 -- reads as what happened
    """No cluster answered: unreachable, not trusted, or it does not know who we are."""

    exit_code = 3


class ReadFailed(KgdiagError):  # noqa: N818 -- reads as what happened
    """The cluster answered, but what the verdict needs could not be read (forbidden or failed)."""

    exit_code = 3
