"""Routes of the Gateway API: where they are attached or why not, what each rule leads to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kgdiag.dialects.gateway_api.attach import Attachment, attachments
from kgdiag.dialects.gateway_api.backends import BackendRef, backend_refs, resolve
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.words import listed, many, named
from kgdiag.graph.core import addresses
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE, kinds.TLS_ROUTE, kinds.TCP_ROUTE, kinds.UDP_ROUTE)
_NAMES = {
    "HTTPRoute": "HTTP route",
    "GRPCRoute": "gRPC route",
    "TLSRoute": "TLS route",
    "TCPRoute": "TCP route",
}


def describe(context: Context, route: Obj, draft: Draft) -> None:
    """Fill the draft for a route."""
    found = attachments(context.world, route)
    backends = _backends(context, route)
    draft.summary = _summary(route, found, backends)
    _parents(route, found, draft)
    _rules(route, backends, draft)
    for item in found:
        words = item.detail
        if item.accepted:
            on = [said.listener.name for said in item.admissions if said.accepted]
            words = f"{many(len(on), 'listener')} {listed(on)}"
        draft.link(
            context, "attached-to" if item.accepted is not False else "asks-for", item.parent.ref, words
        )
    draft.relate(context, [link for link in context.out(route) if link.relation.name == "routes-to"], "down")
    draft.relate(context, context.into(route), "up", look=False)
    draft.prove(proof.shows(route, "spec.parentRefs"), proof.shows(route, "spec.hostnames"))
    for item in found:
        if item.gateway is not None:
            draft.prove(proof.exists(kinds.GATEWAY, item.gateway.namespace, item.gateway.name))
    for ref, _, _ in backends[:4]:
        draft.prove(proof.shows(route, ref.part))


_Backend = tuple[BackendRef, str, bool]


def _backends(context: Context, route: Obj) -> list[_Backend]:
    """(reference, words, whether it can be sent requests) of every backendRef."""
    found = []
    for rule in range(len(route.items("spec.rules"))):
        for ref in backend_refs(route, rule):
            found.append((ref, *_backend(context, ref)))
    return found


def _backend(context: Context, ref: BackendRef) -> tuple[str, bool]:
    name = f"{named(ref.ref)}:{ref.port}" if ref.port is not None else named(ref.ref)
    if ref.kind != "Service":
        return f"{ref.kind} {name}", True
    found = resolve(context.world, ref)
    if found.problem:
        return f"{name}: {found.problem}: {found.detail}", False
    if found.doubt or found.service is None or found.port is None:
        return f"{name} ({found.doubt or 'not known'})", True
    if found.service.text("spec.type") == "ExternalName":
        return f"{name} (an alias of {found.service.text('spec.externalName')})", True
    ends = addresses(context.world, found.service, found.port)
    return f"{name} ({sum(one.ready for one in ends)}/{len(ends)} ready)", True


def _summary(route: Obj, found: Sequence[Attachment], backends: Sequence[_Backend]) -> str:
    name = f"{_NAMES.get(route.kind.name, route.kind.name)} {route.name}"
    words = f"{name} {'; '.join(_places(route, found)) or 'names no parent, so nothing serves it'}"
    targets = list(dict.fromkeys(f"{named(ref.ref)}:{ref.port}" for ref, _, _ in backends))
    if targets:
        words += f"; requests go to {listed(targets)}"
        broken = [text for _, text, good in backends if not good]
        if broken:
            words += f", but {broken[0]}"
    elif any(rule.get("filters") for rule in route.maps("spec.rules")):
        words += "; it redirects or answers by itself"
    else:
        words += "; it has no backend"
    return words


def _places(route: Obj, found: Sequence[Attachment]) -> Iterator[str]:
    """Where a route is attached, for which hosts, and where it is not, and why."""
    taken = [item for item in found if item.accepted and not item.mesh]
    if taken:
        where = [
            f"{named(item.parent.ref)} ({many(len(on), 'listener')} {listed(on)})"
            for item in taken
            if (on := [said.listener.name for said in item.admissions if said.accepted])
        ]
        names = list(
            dict.fromkeys(
                host for item in taken for said in item.admissions for host in said.hostnames if said.accepted
            )
        )
        whom = f" for {listed(names) if names and names != ['*'] else 'every host'}"
        if route.kind in (kinds.TCP_ROUTE, kinds.UDP_ROUTE):
            whom = ""
        yield f"is attached to {many(len(taken), 'Gateway')} {listed(where)}{whom}"
    for item in found:
        if item.mesh:
            yield f"is a route of the mesh for {item.parent.ref}"
        elif item.accepted is None:
            yield f"asks for {item.parent.ref}: {item.detail}"
        elif not item.accepted:
            reason = f"{item.reason}: " if item.reason else ""
            yield f"is not attached to {item.parent.ref}: {reason}{item.detail}"


def _parents(route: Obj, found: Sequence[Attachment], draft: Draft) -> None:
    """Every parent: what is computed here against what its controller wrote, and whether that is current."""
    generation = route.get("metadata.generation")
    rows = []
    for item in found:
        section = f" section {item.parent.section}" if item.parent.section else ""
        section += f" port {item.parent.port}" if item.parent.port is not None else ""
        computed = (
            "attached"
            if item.accepted
            else item.reason or ("not known" if item.accepted is None else "not attached")
        )
        rows.append((f"{named(item.parent.ref)}{section}", computed, *_written(route, item, generation)))
    columns = ("parent", "computed here", "status says", "controller")
    draft.table("Parents", columns, rows)


def _written(route: Obj, item: Attachment, generation: Any) -> tuple[str, str]:
    for status in route.maps("status.parents"):
        ref = status.get("parentRef")
        if not isinstance(ref, Mapping) or ref.get("name") != item.parent.name:
            continue
        if str(ref.get("namespace") or route.namespace) != item.parent.namespace:
            continue
        if str(ref.get("sectionName") or "") != item.parent.section:
            continue
        words = []
        entries = status.get("conditions")
        for one in entries if isinstance(entries, list) else ():
            if isinstance(one, Mapping) and one.get("type") in (
                "Accepted",
                "ResolvedRefs",
                "PartiallyInvalid",
            ):
                stale = one.get("observedGeneration") not in (None, generation)
                reason = f" {one.get('reason')}" if one.get("status") != "True" else ""
                words.append(
                    f"{one.get('type')}={one.get('status')}{reason}"
                    + (" (of an older generation)" if stale else "")
                )
        return listed(words, 4) or "nothing", str(status.get("controllerName") or "")
    return ("nothing", "") if route.raw.get("status") else ("-", "")


# -- rules -----------------------------------------------------------------------------------------------


def _rules(route: Obj, backends: Sequence[_Backend], draft: Draft) -> None:
    rows = []
    for at, rule in enumerate(route.maps("spec.rules")):
        matches = [item for item in rule.get("matches") or () if isinstance(item, Mapping)]
        words = " or ".join(match_words(item) for item in matches) or "everything"
        mine = [(ref, text) for ref, text, _ in backends if ref.rule == at]
        total = sum(ref.weight for ref, _ in mine) or 1
        leads = [(f"{ref.weight * 100 // total}% " if len(mine) > 1 else "") + text for ref, text in mine]
        leads += list(_filters(rule))
        rows.append((f"{at}", words, "; ".join(leads) or "nowhere: 500"))
    draft.table("Rules", ("#", "matches", "leads to"), rows)
    if len(rows) > 1:
        draft.note("the most specific match wins, not the first: exact path, longest prefix, method, headers")


def match_words(match: Mapping[str, Any]) -> str:
    """``path prefix /api and method GET``: one match of a rule, with the API's defaults."""
    parts = []
    path, method = match.get("path"), match.get("method")
    if isinstance(path, Mapping):
        how = {"Exact": "", "RegularExpression": "regex "}.get(
            str(path.get("type") or "PathPrefix"), "prefix "
        )
        parts.append(f"path {how}{path.get('value', '/')}")
    if isinstance(method, Mapping):  # gRPC
        parts.append(f"method {method.get('service') or '*'}/{method.get('method') or '*'}")
    elif method:
        parts.append(f"method {method}")
    for key, name in (("headers", "header"), ("queryParams", "query")):
        for item in match.get(key) or ():
            if isinstance(item, Mapping):
                how = "regex " if item.get("type") == "RegularExpression" else ""
                parts.append(f"{name} {item.get('name')} {how}{item.get('value')}")
    return " and ".join(parts) or "everything"


def _filters(rule: Mapping[str, Any]) -> Iterator[str]:
    for item in rule.get("filters") or ():
        if not isinstance(item, Mapping):
            continue
        kind = str(item.get("type") or "")
        body = item.get(kind[:1].lower() + kind[1:])
        body = body if isinstance(body, Mapping) else {}
        if kind == "RequestRedirect":
            yield f"redirect {body.get('statusCode', 302)} to " + (
                "".join(str(body.get(key) or "") for key in ("scheme", "hostname", "port")) or "another path"
            )
        elif kind == "URLRewrite":
            path = body.get("path")
            new = (
                (path.get("replaceFullPath") or path.get("replacePrefixMatch"))
                if isinstance(path, Mapping)
                else ""
            )
            yield "rewrite " + " ".join(filter(None, (str(body.get("hostname") or ""), str(new or ""))))
        elif kind == "ExtensionRef":
            yield f"with {body.get('kind')} {body.get('name')}"
        elif kind:
            yield f"with {kind}"
