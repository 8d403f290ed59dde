"""Reporters: an answer in, text out. One file a format; nothing is decided here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kgdiag.app import Answer

FORMATS = ("text", "wide", "json", "yaml", "markdown", "mermaid", "sarif", "junit")


def render(answer: Answer, output: str, *, width: int = 80, color: bool = False) -> str:
    """The answer in a format; raises UsageError where the format does not go with the answer."""
    # Imported here, since the command line needs this package for its escapes alone before it has an answer.
    from kgdiag.errors import UsageError
    from kgdiag.model.report import Report
    from kgdiag.traffic.model import Requests

    if output == "json":
        from kgdiag.report.data import render_json

        return render_json(answer)
    if output == "yaml":
        from kgdiag.report.data import render_yaml

        return render_yaml(answer)
    if isinstance(answer.body, Requests):
        from kgdiag.report import requests

        if output == "markdown":
            return requests.render_markdown(answer, answer.body)
        if output not in ("text", "wide"):
            raise UsageError(
                f"{output} is no format of requests", subject="-o", hint="text, wide, markdown, json, yaml"
            )
        return requests.render_requests(answer, answer.body, width=width, color=color, wide=output == "wide")
    if output == "markdown":
        from kgdiag.report import markdown

        return markdown.render(answer)
    if output == "mermaid":
        from kgdiag.report import mermaid

        return mermaid.render(answer)
    if output in ("sarif", "junit"):
        if not isinstance(answer.body, Report):
            raise UsageError(f"{output} is a format of check", subject="-o", hint="kgdiag check -o " + output)
        if output == "sarif":
            from kgdiag.report.sarif import render_sarif

            return render_sarif(answer, answer.body)
        from kgdiag.report.junit import render_junit

        return render_junit(answer, answer.body)
    from kgdiag.report import text

    return text.render(answer, width=width, color=color, wide=output == "wide")
