"""ReferenceGrants and BackendTLSPolicies: who may refer where, which backends are spoken TLS to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kgdiag.dialects.gateway_api.backends import backend_refs
from kgdiag.dialects.gateway_api.grants import granting
from kgdiag.dialects.gateway_api.spec import GROUP
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.words import count, listed, many, named
from kgdiag.model import kinds
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

KINDS = (kinds.REFERENCE_GRANT, kinds.BACKEND_TLS_POLICY)
_ROUTES = (kinds.HTTP_ROUTE, kinds.GRPC_ROUTE, kinds.TLS_ROUTE, kinds.TCP_ROUTE)


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for a ReferenceGrant or a BackendTLSPolicy."""
    if obj.kind == kinds.REFERENCE_GRANT:
        _grant(context, obj, draft)
    else:
        _tls(context, obj, draft)


def _grant(context: Context, grant: Obj, draft: Draft) -> None:
    who = [f"{item.get('kind')}s of {item.get('namespace')}" for item in grant.maps("spec.from")]
    what = [
        f"{item.get('kind')} {item['name']}" if item.get("name") else f"all {item.get('kind')}s"
        for item in grant.maps("spec.to")
    ]
    users = list(_users(context, grant))
    used = f"{count(len(users), 'object')} {'use' if len(users) > 1 else 'uses'} it"
    if not users:
        used = "nothing uses it now"
    draft.summary = (
        f"reference grant {grant.name} lets {listed(who, 5) or 'nobody'} refer to "
        f"{listed(what, 5) or 'nothing'} of namespace {grant.namespace}; {used}"
    )
    draft.table(
        "From", ("kind", "group", "namespace"),
        [
            (str(item.get("kind")), str(item.get("group") or "core"), str(item.get("namespace")))
            for item in grant.maps("spec.from")
        ],
    )  # fmt: skip
    for ref, words in users:
        draft.link(context, "leads-here", ref, words, "up", look=False)
    for item in grant.maps("spec.to"):
        if item.get("name"):
            ref = Ref(str(item.get("group") or ""), str(item.get("kind")), grant.namespace, str(item["name"]))
            draft.link(context, "grants", ref)
    draft.prove(proof.shows(grant, "spec.from"), proof.shows(grant, "spec.to"))


def _users(context: Context, grant: Obj) -> Iterator[tuple[Ref, str]]:
    """The routes and Gateways whose references this grant permits."""
    world = context.world
    wanted = {(str(item.get("kind")), str(item.get("namespace"))) for item in grant.maps("spec.from")}
    for kind in _ROUTES:
        for namespace in sorted(namespace for name, namespace in wanted if name == kind.name):
            for route in world.all(kind, namespace):
                for rule in range(len(route.items("spec.rules"))):
                    for ref in backend_refs(route, rule):
                        target = (ref.group, ref.kind, ref.namespace, ref.name)
                        if ref.namespace == grant.namespace and _is(
                            context, grant, kind.name, namespace, target
                        ):
                            yield route.ref, f"to {ref.kind} {named(ref.ref)}"
    for namespace in sorted(namespace for name, namespace in wanted if name == "Gateway"):
        for gateway in world.all(kinds.GATEWAY, namespace):
            for listener in gateway.maps("spec.listeners"):
                tls = listener.get("tls")
                refs = tls.get("certificateRefs") if isinstance(tls, Mapping) else None
                for raw in refs if isinstance(refs, list) else ():
                    target = ("", "Secret", str(raw.get("namespace") or namespace), str(raw.get("name")))
                    if target[2] == grant.namespace and _is(context, grant, "Gateway", namespace, target):
                        yield gateway.ref, f"to Secret {target[2]}/{target[3]}"


def _is(context: Context, grant: Obj, kind: str, namespace: str, target: tuple[str, str, str, str]) -> bool:
    found = granting(context.world, (GROUP, kind, namespace), target)
    return found is not None and found.ref == grant.ref


def _tls(context: Context, policy: Obj, draft: Draft) -> None:
    targets = [
        f"{item.get('kind')} {policy.namespace}/{item.get('name')}"
        + (f" port {item['sectionName']}" if item.get("sectionName") else "")
        for item in policy.maps("spec.targetRefs")
    ]
    host = policy.text("spec.validation.hostname")
    authorities = [
        f"{item.get('kind')} {item.get('name')}" for item in policy.maps("spec.validation.caCertificateRefs")
    ]
    well = policy.text("spec.validation.wellKnownCACertificates")
    trust = listed(authorities) or (
        f"the {well.lower()}'s CAs" if well else "no CA, so no handshake succeeds"
    )
    draft.summary = (
        f"backend TLS policy {policy.name} makes gateways speak TLS to {listed(targets) or 'nothing'}: "
        f"server name {host or 'none'}, certificate checked against {trust}"
    )
    for status in policy.maps("status.ancestors"):
        ref = status.get("ancestorRef")
        name = f"{ref.get('kind') or 'Gateway'} {ref.get('name')}" if isinstance(ref, Mapping) else ""
        entries = status.get("conditions")
        words = [
            f"{item.get('type')}={item.get('status')} {item.get('reason')}"
            for item in (entries if isinstance(entries, list) else ())
            if isinstance(item, Mapping)
        ]
        draft.note(f"for {name} its status says {listed(words, 4)}")
    draft.relate(context, context.out(policy), "down")
    draft.note(f"only gateways that know the kind obey it; the {many(2, 'sidecar')} of a mesh do not")
    draft.prove(proof.shows(policy, "spec.targetRefs"), proof.shows(policy, "spec.validation"))
