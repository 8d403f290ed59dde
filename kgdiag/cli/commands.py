"""The commands. Each parses what it was given, asks the app and returns the exit code."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from kgdiag import __version__
from kgdiag.cli.logs import register as register_logs
from kgdiag.cli.options import FailOn, Format, Grouping, Level, Reading, TruthOf, reads
from kgdiag.cli.output import print_answer, say, say_notes, say_reads, terminal_width, write
from kgdiag.errors import InputError, KgdiagError, UsageError
from kgdiag.report.escape import clean

app = typer.Typer(
    name="kgdiag",
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
    except Exception as error:  # a bug: it must not look like a finding (1)
        say(f"kgdiag: this is a bug in kgdiag: {_last_line(error)}")
        say("KGDIAG_TRACEBACK=1 shows where; please report it with the input")
        if os.environ.get("KGDIAG_TRACEBACK"):
            raise
        return 3
    return code if isinstance(code, int) else 0


def _last_line(error: Exception) -> str:
    """What happened and where, without a traceback."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    where = f" ({Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno})" if at is not None else ""
    return f"{type(error).__name__}: {error}{where}"


def _silence_stdout() -> None:
    """Nobody reads on: keep the interpreter from complaining when it flushes at exit."""
    import sys

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version(asked: bool) -> None:
    if asked:
        write(f"kgdiag {__version__}\n")
        raise typer.Exit(0)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Where a request through a Kubernetes gateway goes, and why it does not arrive. Read-only.

    \b
    Examples:
      kgdiag explain svc/knative-local-gateway -n istio-system
      kgdiag trace https://iris.example.com/v1/models
      kgdiag check -A
      kubectl get svc,pods,gw,vs -A -o yaml | kgdiag check -f -

    \b
    Exit codes, the same in every format:
      0  sound
      1  a finding at or above --fail-on, or a traced request that is refused
      2  wrong usage, unreadable or invalid input
      3  no verdict: something could not be read, or an outcome is unknown
    """


@app.command("explain", short_help="One object in its context.")
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

    session = open_session(reading)
    answer = application.explain(session, name, fail_on=_severity(reading.fail_on))
    return _finish(answer, reading, session)


@app.command("trace", short_help="The way of one request, hop by hop.")
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
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Send the request too (GET or HEAD), into the pod behind the entry through a port-forward, "
            "or by the curl of the --from pod, and hold the answer and the proxies' logs against the way.",
        ),
    ] = False,
    probe_method: Annotated[
        str,
        typer.Option("--probe-method", metavar="METHOD", help="What --probe sends, if not GET or HEAD."),
    ] = "",
) -> int:
    """The way of one request, hop by hop: which object decides what, and why all others lost.

    Example: kgdiag trace https://iris.example.com/v1/models -A
    """
    from kgdiag import app as application
    from kgdiag.trace.question import parse_question

    if client_cert not in ("none", "mesh") and not Path(client_cert).is_file():
        raise InputError("no such file", subject=f"--client-cert {client_cert}", hint="none, mesh or a file")
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
    checked = asked(namespace="default")  # a bad URL is said before a cluster is asked
    if probe:
        from kgdiag import probing

        probing.check_probe(checked, probe_method)
        if reading.filename:
            raise UsageError("files answer no requests", subject="--probe")
    session = open_session(reading, ask_proxies=truth is not TruthOf.INTENT)
    question = asked(namespace=session.namespace)
    if probe:
        question = probing.check_probe(question, probe_method)
    answer = application.trace(session, question, fail_on=_severity(reading.fail_on), truth=truth.value)
    if probe:
        answer = probing.probe(session, question, answer, fail_on=_severity(reading.fail_on))
    return _finish(answer, reading, session)


@app.command("check", short_help="Every rule over the scope.")
@reads
def check(
    reading: Reading,
    objects: Annotated[
        list[str] | None, typer.Argument(metavar="KIND/NAME", help="Only what concerns these objects.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="RULES", help="Only these rules: ids or names, by commas; repeatable."
        ),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="RULES", help="Not these rules: ids or names, by commas; repeatable."),
    ] = None,
    min_severity: Annotated[
        Level, typer.Option("--min-severity", help="Show findings of this severity or above.")
    ] = Level.INFO,
    group_by: Annotated[Grouping, typer.Option("--group-by", help="How text groups them.")] = Grouping.OBJECT,
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="FILE", help="Leave out the findings that FILE holds."),
    ] = None,
    write_baseline: Annotated[
        str | None,
        typer.Option("--write-baseline", metavar="FILE", help="Write what is found to FILE: the baseline."),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="FILE",
            help="Project file; default: the nearest .kgdiag.yaml here or above, up to the git root.",
        ),
    ] = None,
    rbac: Annotated[
        bool,
        typer.Option("--rbac", help="Print the least ClusterRole that the rules need, and read nothing."),
    ] = False,
) -> int:
    """Every rule over the scope: a namespace, with -A all of them; files are taken whole.

    One cause is one finding; what follows from it is listed under it. Findings are accepted by the
    annotation kgdiag.dev/ignore: "KG101 reason; KG203 reason" on the object, by entries of .kgdiag.yaml
    (ignore: a list of rule, object, reason, expires) or by a baseline; -v shows them.

    Example: kgdiag check -A
    """
    from kgdiag import checking
    from kgdiag.model.finding import Severity
    from kgdiag.model.report import GroupBy

    options = checking.Options(
        only=_words(only),
        skip=_words(skip),
        fail_on=_severity(reading.fail_on),
        min_severity=Severity(min_severity.value),
        group_by=GroupBy(group_by.value),
        config=config,
        baseline=baseline,
        write_baseline=write_baseline,
    )
    prepared = checking.prepare(options)
    if rbac:
        from kgdiag.report.rbac import render_role

        write(render_role(prepared.rules))
        return 0
    session = open_session(reading)
    checked = checking.check(session, objects or [], options, prepared)
    if not reading.quiet:
        for words in (*checked.words, *(checked.details if reading.verbose else ())):
            say(clean(words))
    return _finish(checked.answer, reading, session)


def _words(given: list[str] | None) -> list[str]:
    """Words of an option that is repeated, or has several by commas."""
    return [word.strip() for text in given or () for word in text.split(",") if word.strip()]


@app.command("proxy", short_help="The config of one Envoy, and what declares it.")
@reads
def proxy(
    reading: Reading,
    name: Annotated[
        str,
        typer.Argument(metavar="POD|KIND/NAME", help="A pod, gateway/…, deploy/…, svc/…; none for a dump."),
    ] = "",
    listener: Annotated[
        int | None, typer.Option("--listener", metavar="PORT", help="Only the listener on this port.")
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Only what serves this host.")] = "",
    path: Annotated[
        str, typer.Option("--path", metavar="PATH", help="Only routes whose path condition it meets.")
    ] = "",
) -> int:
    """One Envoy as it is: listeners, routes, clusters, endpoints, certificates, and what declares each.

    It touches the pod: GETs on the proxy's admin port through a port-forward over the API server, or an exec
    of `pilot-agent request GET` where that is not possible. No port is opened on this machine. With -f and no
    name FILE is a config dump (of Envoy, istioctl or egctl), and nothing is contacted.

    Example: kgdiag proxy gateway/web -n shop --host cart.example.com
    """
    from kgdiag import proxying
    from kgdiag.explain.proxy import Narrow

    narrow = Narrow(listener, host, path)
    fail_on = _severity(reading.fail_on)
    if name:
        session = open_session(reading, ask_proxies=True)
        return _finish(proxying.show(session, name, narrow, fail_on=fail_on), reading, session)
    if not reading.filename or len(reading.filename) != 1:
        raise UsageError("whose proxy?", hint="name a pod, or one config dump with -f FILE")
    return _finish(proxying.show_file(reading.filename[0], narrow, fail_on=fail_on), reading)


@snapshot_app.command("save", short_help="Read everything into one file.")
@reads
def snapshot_save(
    reading: Reading,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    proxies: Annotated[
        bool,
        typer.Option(
            "--proxies",
            help="With the config of all gateway proxies; touches their pods: GETs on the admin port through "
            "a port-forward, or an exec of pilot-agent.",
        ),
    ] = False,
) -> int:
    """Read everything that kgdiag asks about into one compressed file, without any Secret's values.

    Example: kgdiag snapshot save incident.kgdiag && kgdiag check -A -f incident.kgdiag
    """
    from kgdiag import app as application

    session = open_session(reading, ask_proxies=proxies)
    said = application.save_snapshot(session, file, force=force, proxies=proxies)
    if not reading.quiet:
        say(said.words)
    return said.code


@app.command("rules", short_help="The catalogue of rules, or one rule's page.")
def rules(
    rule_id: Annotated[str, typer.Argument(metavar="ID", help="Print the page of one rule.")] = "",
    output: Annotated[
        Format, typer.Option("-o", "--output", metavar="FORMAT", help="text, markdown, json or yaml")
    ] = Format.TEXT,
) -> int:
    """The catalogue of rules, or one rule's page.

    Example: kgdiag rules KG101
    """
    from kgdiag.report.catalogue import render_catalogue

    write(render_catalogue(rule_id, output.value, width=terminal_width()))
    return 0


@app.command("version")
def version() -> int:
    """Print the version."""
    write(f"kgdiag {__version__}\n")
    return 0


register_logs(app)


def open_session(reading: Reading, *, ask_proxies: bool = False):  # type: ignore[no-untyped-def]
    """The files or the cluster that the options name."""
    from kgdiag import app as application

    if reading.filename:
        for name in ("context", "kubeconfig", "as_user", "as_group"):
            if getattr(reading, name):
                option = "--" + name.removesuffix("_user").replace("_", "-")
                raise UsageError(f"{option} goes with a cluster, -f with files")
        session = application.open_files(
            reading.filename,
            namespace=reading.namespace,
            complete=reading.complete,
            all_namespaces=reading.all_namespaces,
        )
        say_notes(session.world.documents, reading)
        return session
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


def _finish(answer, reading: Reading, session=None) -> int:  # type: ignore[no-untyped-def]
    if session is not None:
        say_reads(session.world.reads, reading)
    print_answer(answer, reading)
    return int(answer.code)
