"""The commands. Each parses what it was given, asks the app and returns the exit code."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from typer.exceptions import TyperException

from kgdiag import __version__
from kgdiag.cli.options import FailOn, Format, Reading, TruthOf, reads
from kgdiag.cli.output import print_answer, say, write
from kgdiag.errors import KgdiagError, UsageError

app = typer.Typer(
    name="kgdiag",
    help="Where a request through a Kubernetes gateway goes, and why it does not arrive. Read-only.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
snapshot_app = typer.Typer(
    rich_markup_mode=None, help="Keep what was read, to be looked at later.", no_args_is_help=True
)
app.add_typer(snapshot_app, name="snapshot")


def run(argv: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        code = app(argv, prog_name="kgdiag", standalone_mode=False)
    except KgdiagError as error:
        say(f"kgdiag: {error}")
        return error.exit_code
    except TyperException as error:
        words, context = error.format_message(), getattr(error, "ctx", None)
        say(words if words.startswith("Usage:") else f"kgdiag: {words}")
        if context is not None and not words.startswith("Usage:"):
            say(f"try: {context.command_path} --help")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        _silence_stdout()
        return 141
    return code if isinstance(code, int) else 0


def _silence_stdout() -> None:
    """Nobody reads on: keep the interpreter from complaining when it flushes at exit."""
    import os
    import sys

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command("explain")
@reads
def explain(
    reading: Reading,
    name: Annotated[
        str, typer.Argument(metavar="KIND/NAME", help="svc/x, vs/x.ns, gateway.networking.istio.io/x")
    ],
) -> int:
    """What an object is in its context: what it selects, who leads to it, where it leads, what is wrong.

    Example: kgdiag explain svc/knative-local-gateway -n istio-system
    """
    from kgdiag import app as application

    session = _session(reading)
    return _finish(application.explain(session, name, fail_on=_severity(reading.fail_on)), reading)


@app.command("trace")
@reads
def trace(
    reading: Reading,
    url: Annotated[
        str, typer.Argument(metavar="URL", help="http, https, grpc, grpcs, tcp or tls://host[:port]/path")
    ],
    method: Annotated[str, typer.Option("-X", "--request", metavar="METHOD", help="Method.")] = "GET",
    header: Annotated[
        list[str] | None,
        typer.Option("-H", "--header", metavar="'NAME: VALUE'", help="Header; 'Host: x' sets the authority."),
    ] = None,
    sni: Annotated[
        str | None, typer.Option("--sni", metavar="NAME", help="Server name of the TLS client.")
    ] = None,
    origin: Annotated[
        str, typer.Option("--from", metavar="WHERE", help="outside, pod/NAME[.NS], deploy/NAME[.NS], ns/NAME")
    ] = "",
    via: Annotated[
        str,
        typer.Option(
            "--via", metavar="WHERE", help="svc/NAME[.NS][:PORT], gateway/…, route/…, ing/…, dump/FILE[:PORT]"
        ),
    ] = "",
    client_cert: Annotated[
        str,
        typer.Option("--client-cert", metavar="CERT", help="What a TLS client presents: none, mesh, FILE."),
    ] = "none",
    truth: Annotated[
        TruthOf,
        typer.Option(
            "--truth",
            help="intent: as declared, no pod is touched. effect: by the config of the proxies on the way, "
            "read with GETs on their admin port through a port-forward, or an exec of pilot-agent where that "
            "is not possible. both: effect, and where it differs from intent.",
        ),
    ] = TruthOf.INTENT,
) -> int:
    """The way of one request, hop by hop: which object decides what, and why all others lost.

    Example: kgdiag trace https://iris.example.com/v1/models -A
    """
    from kgdiag import app as application
    from kgdiag.trace.question import parse_question

    asked = partial(
        parse_question,
        url,
        method=method,
        headers=header or [],
        sni=sni,
        origin=origin,
        via=via,
        client_cert=client_cert,
    )
    if via.lower().startswith("dump/"):
        question = asked(namespace=reading.namespace or "default")
        return _finish(application.trace_dump(question, fail_on=_severity(reading.fail_on)), reading)
    asked(namespace="default")  # a bad URL is said before a cluster is asked
    session = _session(reading, ask_proxies=truth is not TruthOf.INTENT)
    question = asked(namespace=session.namespace)
    answer = application.trace(session, question, fail_on=_severity(reading.fail_on), truth=truth.value)
    return _finish(answer, reading)


@app.command("check")
@reads
def check(
    reading: Reading,
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="KIND/NAME", help="Only what concerns these objects.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ID", help="Only this rule; repeatable.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", metavar="ID", help="Not this rule; repeatable.")
    ] = None,
) -> int:
    """Every rule over the scope: a namespace, with -A all of them; files are taken whole.

    Example: kgdiag check -A
    """
    from kgdiag import app as application

    answer = application.check(
        _session(reading), objects or [], only=only or [], skip=skip or [], fail_on=_severity(reading.fail_on)
    )
    return _finish(answer, reading)


@snapshot_app.command("save")
@reads
def snapshot_save(
    reading: Reading,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> int:
    """Read everything that kgdiag asks about into one compressed file, without any Secret's values."""
    from kgdiag import app as application

    said = application.save_snapshot(_session(reading), file, force=force)
    if not reading.quiet:
        say(said.words)
    return said.code


@app.command("rules")
def rules(
    rule_id: Annotated[str, typer.Argument(metavar="ID", help="Print the page of one rule.")] = "",
    output: Annotated[
        Format, typer.Option("-o", "--output", metavar="FORMAT", help="text or json")
    ] = Format.TEXT,
) -> int:
    """The catalogue of rules, or one rule's page."""
    from kgdiag.report.catalogue import render_catalogue

    write(render_catalogue(rule_id, output.value))
    return 0


@app.command("version")
def version() -> int:
    """Print the version."""
    write(f"kgdiag {__version__}\n")
    return 0


def _session(reading: Reading, *, ask_proxies: bool = False):  # type: ignore[no-untyped-def]
    from kgdiag import app as application

    if reading.filename:
        for name in ("context", "kubeconfig", "as_user"):
            if getattr(reading, name):
                raise UsageError(f"--{name.removesuffix('_user')} goes with a cluster, -f with files")
        return application.open_files(
            reading.filename,
            namespace=reading.namespace,
            complete=reading.complete,
            all_namespaces=reading.all_namespaces,
        )
    from kgdiag.collect.connection import ConnectionOptions, parse_timeout

    options = ConnectionOptions(
        context=reading.context or "",
        kubeconfig=reading.kubeconfig or "",
        as_user=reading.as_user or "",
        as_groups=tuple(reading.as_group or ()),
        request_timeout=parse_timeout(reading.request_timeout),
    )
    return application.open_cluster(
        options,
        namespace=reading.namespace,
        all_namespaces=reading.all_namespaces,
        ask_proxies=ask_proxies,
    )


def _severity(fail_on: FailOn):  # type: ignore[no-untyped-def]
    from kgdiag.model.finding import Severity

    return None if fail_on is FailOn.NEVER else Severity(fail_on.value)


def _finish(answer, reading: Reading) -> int:  # type: ignore[no-untyped-def]
    print_answer(answer, reading)
    return int(answer.code)
