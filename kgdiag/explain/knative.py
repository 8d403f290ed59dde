"""Knative Serving: Services, Routes, Configurations, Revisions and what its controllers make of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kgdiag.explain import chain, proof
from kgdiag.explain.base import Context, Draft, conditions
from kgdiag.explain.ends import end_of
from kgdiag.explain.generic import related
from kgdiag.explain.words import listed, many
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (
    kinds.KNATIVE_SERVICE, kinds.KNATIVE_ROUTE, kinds.KNATIVE_CONFIGURATION, kinds.KNATIVE_REVISION,
    kinds.KNATIVE_INGRESS, kinds.SERVERLESS_SERVICE, kinds.DOMAIN_MAPPING,
)  # fmt: skip


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for one of Knative's kinds."""
    {
        "Service": _service,
        "Route": _route,
        "Configuration": _configuration,
        "Revision": _revision,
        "Ingress": _ingress,
        "ServerlessService": _serverless,
        "DomainMapping": _mapping,
    }[obj.kind.name](context, obj, draft)
    draft.table("Conditions", ("condition", "status", "reason", "message"), conditions(obj))
    draft.prove(proof.condition(obj, "Ready"))
    if not draft.verify:
        draft.prove(proof.exists(obj.kind, obj.namespace, obj.name))


def _service(context: Context, service: Obj, draft: Draft) -> None:
    steps = list(chain.knative(context, service.namespace, service.name))
    guilty = chain.show(context, steps, draft)
    draft.summary = chain.verdict(
        f"Knative Service {service.name}", service, guilty, [*_shares(service), *_address(service)]
    )
    draft.relate(context, context.into(service), "up", look=False)
    draft.prove(proof.shows(service, "status.url"), proof.shows(service, "status.latestReadyRevisionName"))
    _prove(guilty, draft)


def _prove(guilty: chain.Step | None, draft: Draft) -> None:
    if guilty is not None and guilty.obj is not None:
        draft.prove(proof.condition(guilty.obj, "Ready"), proof.shows(guilty.obj, "status.readyReplicas"))
    elif guilty is not None:
        kind = next(kind for kind in kinds.ALL if kind.key == (guilty.ref.group, guilty.ref.kind))
        draft.prove(proof.gone(kind, guilty.ref.namespace, guilty.ref.name))


def _shares(obj: Obj) -> Iterator[str]:
    """Which revision gets how much, as the status has it, else as the spec asks for it."""
    given = obj.maps("status.traffic") or obj.maps("spec.traffic")
    shares = [
        f"{item.get('percent', 0)}% to {item.get('revisionName') or 'the newest revision'}"
        + (f" (tag {item['tag']})" if item.get("tag") else "")
        for item in given
    ]
    if shares:
        yield f"requests go {listed(shares, 4)}"


def _address(obj: Obj) -> Iterator[str]:
    url, inside = obj.text("status.url"), obj.text("status.address.url")
    if url:
        yield f"at {url}" + (f" (inside {inside})" if inside and inside != url else "")


def _route(context: Context, route: Obj, draft: Draft) -> None:
    steps = list(chain.route(context, route.namespace, route.name))
    guilty = chain.show(context, steps, draft)
    draft.summary = chain.verdict(
        f"Knative Route {route.name}", route, guilty, [*_shares(route), *_address(route)]
    )
    placeholder = end_of(context, route.namespace, route.name)
    if placeholder.service is not None:
        draft.note(f"in the cluster its name is Service {placeholder.words}")
    related(context, route, draft)
    draft.prove(proof.shows(route, "status.url"), proof.shows(route, "status.traffic"))
    _prove(guilty, draft)


def _configuration(context: Context, configuration: Obj, draft: Draft) -> None:
    created, ready = (
        configuration.text(f"status.{key}")
        for key in ("latestCreatedRevisionName", "latestReadyRevisionName")
    )
    words = [f"its newest revision is {created}"] if created else []
    if ready and ready != created:
        words.append(f"the newest that is ready is {ready}")
    draft.summary = chain.verdict(f"Knative Configuration {configuration.name}", configuration, None, words)
    related(context, configuration, draft)
    draft.prove(proof.shows(configuration, "status.latestReadyRevisionName"))


def _revision(context: Context, revision: Obj, draft: Draft) -> None:
    namespace, name = revision.namespace, revision.name
    steps = [
        chain.step(context, kinds.KNATIVE_REVISION, namespace, name, "a version", 0),
        *chain.pods(context, namespace, f"{name}-deployment", 2),
        chain.step(
            context, kinds.SERVERLESS_SERVICE, namespace, name, chain.mode(context, namespace, name), 1
        ),
    ]
    guilty = chain.show(context, steps, draft)
    words = [steps[1].what, chain.mode(context, namespace, name)]
    draft.summary = chain.verdict(f"Knative Revision {name}", revision, guilty, words)
    for service in (name, f"{name}-private"):
        end = end_of(context, namespace, service)
        if end.service is not None:
            draft.link(context, "reached-by", end.service.ref, end.words)
    related(context, revision, draft)
    draft.prove(proof.shows(revision, "status.actualReplicas"))
    _prove(guilty, draft)


def _ingress(context: Context, ingress: Obj, draft: Draft) -> None:
    rows = []
    for rule in ingress.maps("spec.rules"):
        hosts = [str(host) for host in rule.get("hosts") or ()]
        visible = "inside" if rule.get("visibility") == "ClusterLocal" else "outside"
        http = rule.get("http")
        for path in _maps(http, "paths"):
            splits = [_split(context, ingress, item) for item in _maps(path, "splits")]
            rows.append(
                (visible, listed(hosts, 3), str(path.get("path") or "/"), "; ".join(splits) or "nowhere")
            )
    draft.table("Rules", ("from", "hosts", "path", "leads to"), rows)
    balancers = [
        f"{words} {item.get('domainInternal') or item.get('domain') or item.get('ip')}"
        for words, path in (("outside", "publicLoadBalancer"), ("inside", "privateLoadBalancer"))
        for item in ingress.maps(f"status.{path}.ingress")
    ]
    hosts = [str(host) for rule in ingress.maps("spec.rules") for host in rule.get("hosts") or ()]
    own = chain.step(context, kinds.KNATIVE_INGRESS, ingress.namespace, ingress.name, "", 0)
    draft.summary = chain.verdict(
        f"Knative ingress {ingress.name}", ingress, own if own.blocks else None,
        [
            f"it is for {listed(dict.fromkeys(hosts))}",
            *([f"reached from {listed(balancers)}"] if balancers else []),
        ],
    )  # fmt: skip
    for suffix in ("ingress", "mesh"):
        name = f"{ingress.name}-{suffix}"
        if context.world.get(kinds.VIRTUAL_SERVICE, ingress.namespace, name, optional=True) is not None:
            ref = context.world.get(kinds.VIRTUAL_SERVICE, ingress.namespace, name, optional=True)
            if ref is not None:
                draft.link(context, "makes", ref.ref)
    related(context, ingress, draft)
    if own.blocks:
        draft.note("net-istio probes its hosts through the gateways; it becomes ready when all answer")
    draft.note(
        "Ready says nothing about a gateway whose Service has no port with the number of the Gateway's "
        "server: then nothing is probed"
    )
    draft.prove(proof.shows(ingress, "status.privateLoadBalancer"))


def _maps(value: object, key: str) -> list[Mapping[str, object]]:
    """The objects in a list below a key."""
    found = value.get(key) if isinstance(value, Mapping) else None
    return [item for item in (found if isinstance(found, list) else ()) if isinstance(item, Mapping)]


def _split(context: Context, ingress: Obj, item: Mapping[str, object]) -> str:
    namespace = str(item.get("serviceNamespace") or ingress.namespace)
    end = end_of(context, namespace, str(item.get("serviceName")), item.get("servicePort"))
    return f"{item.get('percent', 100)}% {end.words}"


def _serverless(context: Context, sks: Obj, draft: Draft) -> None:
    public = sks.text("status.serviceName") or sks.name
    private = sks.text("status.privateServiceName") or f"{sks.name}-private"
    words = [chain.mode(context, sks.namespace, sks.name)]
    activators = sks.get("spec.numActivators")
    if isinstance(activators, int):
        words.append(f"{activators} {many(activators, 'activator')} asked for")
    draft.summary = chain.verdict(f"serverless service {sks.name}", sks, None, words)
    ends = [("public, what callers use", end_of(context, sks.namespace, public)),
            ("private, the revision's own pods", end_of(context, sks.namespace, private))]  # fmt: skip
    draft.table("Services", ("which", "Service and endpoints"), [(name, end.words) for name, end in ends])
    related(context, sks, draft)
    draft.prove(proof.shows(sks, "spec.mode"))


def _mapping(context: Context, mapping: Obj, draft: Draft) -> None:
    target = mapping.mapping("spec.ref")
    namespace = target.get("namespace") or mapping.namespace
    where = f"{target.get('kind') or 'Service'} {namespace}/{target.get('name')}"
    steps = [
        chain.step(context, kinds.DOMAIN_MAPPING, mapping.namespace, mapping.name, "a domain", 0),
        chain.step(context, kinds.KNATIVE_INGRESS, mapping.namespace, mapping.name,
                   "what the ingress controller is told", 1, expected=bool(mapping.raw.get("status"))),
    ]  # fmt: skip
    guilty = chain.show(context, steps, draft)
    draft.summary = chain.verdict(
        f"domain mapping {mapping.name}", mapping, guilty, [f"requests for {mapping.name} go to {where}"]
    )
    related(context, mapping, draft)
    draft.prove(proof.shows(mapping, "spec.ref"))
