"""The commands on traffic: ``explain-log`` and ``logs``."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from kgdiag.cli.options import FailOn, Format, Reading, reads
from kgdiag.cli.output import print_answer, say, write
from kgdiag.errors import ConnectionFailed, KgdiagError, UsageError

_FORMAT = typer.Option(
    "--format",
    metavar="FORMAT",
    help="A custom log format with Envoy's operators, as accessLogFormat has it; repeatable.",
)


@reads
def explain_log(
    reading: Reading,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="File with the lines; '-' to paste them.")
    ] = "-",
    format: Annotated[list[str] | None, _FORMAT] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no cluster: only the names in the lines are used.")
    ] = False,
) -> int:
    """What access log lines of Envoy, or the output of curl -v, say: who answered a request, and why.

    Reads Istio's, Envoy's and Envoy Gateway's formats, text and JSON, also where lines were broken when they
    were pasted. The lines of one request are joined over all its proxies. With a cluster (or -f) the objects
    are named that decided, and what they declare now is held against what the log says.

    Exit code: 0 where every request was answered by its application (whatever the status), 1 where a proxy
    refused one or there was no answer, 3 where that cannot be told.

    Example: kubectl logs -n istio-system deploy/istio-ingressgateway | tail -1 | kgdiag explain-log
    """
    import sys

    from kgdiag import accesslogs

    formats = accesslogs.formats_of(format or ())
    text = accesslogs.pasted_text(file, sys.stdin.buffer)
    session = None if offline else _session_if_any(reading)
    try:
        answer = accesslogs.explain_log(session, text, formats, failing=reading.fail_on is not FailOn.NEVER)
    except ConnectionFailed as error:
        if _chosen(reading):
            raise
        _without_cluster(reading, error)
        answer = accesslogs.explain_log(None, text, formats, failing=reading.fail_on is not FailOn.NEVER)
    print_answer(answer, reading)
    return int(answer.code)


def _chosen(reading: Reading) -> bool:
    """Whether somebody asked for this cluster, so that failing to reach it is an error."""
    return bool(reading.filename or reading.context or reading.kubeconfig or reading.as_user)


def _session_if_any(reading: Reading):  # type: ignore[no-untyped-def]
    from kgdiag.cli.commands import open_session

    try:
        return open_session(reading)
    except KgdiagError as error:
        if _chosen(reading):
            raise
        _without_cluster(reading, error)
        return None


def _without_cluster(reading: Reading, error: KgdiagError) -> None:
    if not reading.quiet:
        say(f"kgdiag: no cluster was asked, names are taken from the lines alone: {error.message}")


@reads
def logs(
    reading: Reading,
    targets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="POD|KIND/NAME",
            help="POD, gateway/NAME, deploy/NAME, svc/NAME; default: all proxies of the namespace (or -A).",
        ),
    ] = None,
    request_id: Annotated[
        str, typer.Option("--request-id", metavar="ID", help="Only the request with this x-request-id.")
    ] = "",
    host: Annotated[str, typer.Option("--host", metavar="HOST", help="Only requests for this host.")] = "",
    path: Annotated[str, typer.Option("--path", metavar="PATH", help="Only paths that begin so.")] = "",
    status: Annotated[
        str, typer.Option("--status", metavar="STATUS", help="Only these: 503, 404,503, 5xx; 0 is no answer.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", metavar="TIME", help="How far back: 10m, 1h; 0 is all.")
    ] = "10m",
    tail: Annotated[int, typer.Option("--tail", min=1, max=100_000, help="Last lines of each log.")] = 5000,
    last: Annotated[int, typer.Option("--last", min=1, help="Requests to show, the last ones.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    format: Annotated[list[str] | None, _FORMAT] = None,
) -> int:
    """The requests in the access logs of proxies, joined over all proxies on their way, and explained.

    The logs of istio-proxy and envoy containers are read through the API server (GET pods/log), first of the
    proxies that are named, then of those that the requests came from and went to.

    Exit code: 0 where every request was answered by its application (whatever the status), 1 where a proxy
    refused one or there was no answer, 3 where a log could not be read or that cannot be told.

    Example: kgdiag logs gateway/web -n shop --status 5xx
    """
    from kgdiag import accesslogs
    from kgdiag.cli.commands import open_session
    from kgdiag.collect.connection import parse_timeout

    if reading.filename:
        raise UsageError(
            "logs are read from a cluster, and files have none", subject="-f", hint="kgdiag explain-log"
        )
    seconds = parse_timeout(since)
    wanted = accesslogs.Filter(request_id, host, path, accesslogs.statuses(status))
    limits = accesslogs.Limits(None if seconds is None else max(1, int(seconds)), tail)
    formats = accesslogs.formats_of(format or ())
    failing = reading.fail_on is not FailOn.NEVER
    session = open_session(reading)
    if not follow:
        answer = accesslogs.logs(
            session, targets or [], wanted, limits, formats=formats, most=last, failing=failing
        )
        print_answer(answer, reading)
        return int(answer.code)
    if reading.output not in (Format.TEXT, Format.WIDE, Format.JSON):
        raise UsageError("--follow prints text, wide or json", subject=f"-o {reading.output.value}")
    codes = {0}
    gc.enable()  # this one goes on for as long as somebody looks
    try:
        for answer in accesslogs.follow(session, targets or [], wanted, formats=formats, failing=failing):
            codes.add(int(answer.code))
            _print_following(answer, reading)
    except KeyboardInterrupt:
        pass
    return 1 if 1 in codes else max(codes)


def _print_following(answer, reading: Reading) -> None:  # type: ignore[no-untyped-def]
    """Requests to standard output (JSON: one document a line), all else to standard error."""
    if not answer.body.requests:
        for text in (*answer.body.notes, *(read.message for read in answer.incomplete)):
            if not reading.quiet:
                say(text)
    elif reading.output is Format.JSON:
        import json

        write(json.dumps(answer.to_json(), default=str) + "\n")
    else:
        print_answer(answer, reading)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command("explain-log", short_help="What access log lines or curl -v say.")(explain_log)
    app.command("logs", short_help="The requests in the logs of proxies.")(logs)
