"""The options that every reading command has, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import wraps
from typing import Annotated, Any, get_type_hints

import typer

_WHERE = "Where to read"
_HOW = "How to print"


class Format(StrEnum):
    """Formats of `-o`."""

    TEXT = "text"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"
    MARKDOWN = "markdown"
    MERMAID = "mermaid"
    SARIF = "sarif"
    JUNIT = "junit"


class FailOn(StrEnum):
    """From which severity on a finding makes the exit code 1."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    NEVER = "never"


class TruthOf(StrEnum):
    """By what proxies are walked."""

    INTENT = "intent"
    EFFECT = "effect"
    BOTH = "both"


class Level(StrEnum):
    """Severities, for options that take one."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Grouping(StrEnum):
    """How text groups findings."""

    OBJECT = "object"
    RULE = "rule"


@dataclass(frozen=True)
class Reading:
    """What to read, as whom, and how to print it."""

    namespace: Annotated[
        str | None,
        typer.Option(
            "-n", "--namespace", metavar="NS", help="Namespace; default: the context's, with -f: default."
        ),
    ] = None
    all_namespaces: Annotated[
        bool, typer.Option("-A", "--all-namespaces", help="Look in every namespace.")
    ] = False
    filename: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--filename",
            metavar="PATH",
            help="Read files, folders, a snapshot or '-' instead of a cluster; repeatable.",
        ),
    ] = None
    complete: Annotated[
        bool, typer.Option("--complete", help="The files are a whole cluster: what is missing is missing.")
    ] = False
    context: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="Context of the kubeconfig.")
    ] = None
    kubeconfig: Annotated[
        str | None, typer.Option("--kubeconfig", metavar="FILE", help="Path of the kubeconfig.")
    ] = None
    as_user: Annotated[str | None, typer.Option("--as", metavar="USER", help="User to impersonate.")] = None
    as_group: Annotated[
        list[str] | None,
        typer.Option("--as-group", metavar="GROUP", help="Group to impersonate; repeatable."),
    ] = None
    request_timeout: Annotated[
        str,
        typer.Option("--request-timeout", metavar="TIME", help="For one read: 30s, 1m; 0 waits for ever."),
    ] = "30s"
    output: Annotated[
        Format,
        typer.Option(
            "-o",
            "--output",
            metavar="FORMAT",
            help="text, wide, json, yaml, markdown; mermaid (trace); sarif, junit (check).",
        ),
    ] = Format.TEXT
    fail_on: Annotated[
        FailOn, typer.Option("--fail-on", help="Exit with 1 at findings of this severity or above.")
    ] = FailOn.ERROR
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Say what was read, on standard error.")
    ] = False
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Say nothing on standard error.")] = False
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour.")] = False


def reads(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of ``Reading``; it gets them as one value, its first argument."""
    hints = get_type_hints(Reading, include_extras=True)
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    common = [
        inspect.Parameter(
            item.name, inspect.Parameter.KEYWORD_ONLY, default=item.default, annotation=hints[item.name]
        )
        for item in fields(Reading)
    ]
    names = [item.name for item in fields(Reading)]

    @wraps(command)
    def run(**given: Any) -> int:
        reading = Reading(**{name: given.pop(name) for name in names})
        return command(reading, **given)

    parameters = [item.replace(kind=inspect.Parameter.KEYWORD_ONLY) for item in own]
    signature = inspect.Signature([*parameters, *common], return_annotation=int)
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in (*parameters, *common)}
    del run.__wrapped__
    return run
