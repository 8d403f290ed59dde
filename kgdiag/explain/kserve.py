"""KServe: an InferenceService with the chain of what is made of it, graphs and runtimes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from kgdiag.dialects.kserve import component_names, config_map, ingress_config
from kgdiag.explain import chain, proof
from kgdiag.explain.base import Context, Draft, conditions
from kgdiag.explain.ends import end_of
from kgdiag.explain.generic import related
from kgdiag.explain.words import count, listed
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (
    kinds.INFERENCE_SERVICE, kinds.INFERENCE_GRAPH, kinds.SERVING_RUNTIME, kinds.CLUSTER_SERVING_RUNTIME
)  # fmt: skip
_RAW = ("RawDeployment", "Standard")


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for one of KServe's kinds."""
    if obj.kind == kinds.INFERENCE_SERVICE:
        _service(context, obj, draft)
    elif obj.kind == kinds.INFERENCE_GRAPH:
        _graph(context, obj, draft)
    else:
        _runtime(context, obj, draft)
    draft.table("Conditions", ("condition", "status", "reason", "message"), conditions(obj))
    if not draft.verify:
        draft.prove(proof.exists(obj.kind, obj.namespace, obj.name))


def deployment_mode(context: Context, isvc: Obj) -> str:
    """Knative or raw Deployments: by annotation, else by the configuration, else by what was made."""
    written = isvc.text("status.deploymentMode") or str(
        isvc.annotations.get("serving.kserve.io/deploymentMode") or ""
    )
    if not written:
        config = config_map(context.world)
        text = config.text(("data", "deploy")) if config else ""
        written = "RawDeployment" if any(word in text for word in _RAW) else "Serverless" if text else ""
    if written in _RAW:
        return "Standard"
    return "Knative" if written in ("Serverless", "Knative") else written


def _service(context: Context, isvc: Obj, draft: Draft) -> None:
    how = deployment_mode(context, isvc)
    steps = list(_steps(context, isvc, how))
    guilty = chain.show(context, steps, draft)
    words = []
    url, inside = isvc.text("status.url"), isvc.text("status.address.url")
    if url:
        words.append(f"at {url}" + (f" (inside {inside})" if inside and inside != url else ""))
    words.append(f"deployed as {how or 'its default mode says'}")
    draft.summary = chain.verdict(f"inference service {isvc.name}", isvc, guilty, words)
    _model(isvc, draft)
    _way(context, isvc, how, draft)
    links = [
        link for link in context.out(isvc) if link.other not in {item.object for item in draft.relations}
    ]
    draft.relate(context, links, "down")
    draft.relate(context, context.into(isvc), "up", look=False)
    draft.prove(proof.condition(isvc, "Ready"), proof.shows(isvc, "status.url"))
    if guilty is not None and guilty.obj is not None:
        draft.prove(proof.condition(guilty.obj, "Ready"), proof.shows(guilty.obj, "status.readyReplicas"))


def _steps(context: Context, isvc: Obj, how: str) -> Iterator[chain.Step]:
    namespace, knative = isvc.namespace, how == "Knative"
    status = bool(isvc.raw.get("status"))
    yield chain.step(context, kinds.INFERENCE_SERVICE, namespace, isvc.name, "the model", 0)
    for component, name in component_names(isvc):
        if knative or (
            not how and context.world.get(kinds.KNATIVE_SERVICE, namespace, name, optional=True) is not None
        ):
            yield from chain.knative(context, namespace, name, 2)
        else:
            yield from chain.pods(context, namespace, name, 4)
            yield chain.step(
                context, kinds.SERVICE, namespace, name, f"the {component}'s Service", 3, expected=status
            )
    for kind, what in ((kinds.VIRTUAL_SERVICE, "its hosts at the gateways"), (kinds.HTTP_ROUTE, "its hosts"),
                       (kinds.INGRESS, "its hosts")):  # fmt: skip
        found = chain.step(context, kind, namespace, isvc.name, what, 1, expected=False)
        if found.obj is not None:
            yield found


def _model(isvc: Obj, draft: Draft) -> None:
    rows = []
    for component, name in component_names(isvc):
        model = isvc.mapping(f"spec.{component}.model")
        frame = model.get("modelFormat")
        said = str(frame.get("name")) if isinstance(frame, Mapping) else ""
        if not said:
            said = next(
                (key for key, value in isvc.mapping(f"spec.{component}").items()
                 if isinstance(value, Mapping) and "storageUri" in value), "custom containers",
            )  # fmt: skip
        replicas = isvc.get(f"spec.{component}.minReplicas", 1)
        rows.append((component, name, said, str(model.get("runtime") or "chosen by format"), str(replicas)))
    draft.table(
        "Components", ("component", "its objects are called", "model", "runtime", "minReplicas"), rows
    )


def _way(context: Context, isvc: Obj, how: str, draft: Draft) -> None:
    """Through which gateways its hosts are served, as KServe is told."""
    config = config_map(context.world)
    if config is None or how != "Knative":
        return
    values = ingress_config(config).values
    outside, inside = values.get("ingressGateway"), values.get("localGateway")
    service = values.get("knativeLocalGatewayService") or values.get("localGatewayService")
    if values.get("disableIstioVirtualHost") is True:
        draft.note(f"{config.ref} has disableIstioVirtualHost: its hosts are those of the Knative Services")
        return
    if outside or inside:
        draft.note(
            f"its hosts are served on Gateway {outside} (outside) and {inside} (inside), and every request "
            f"passes {service} a second time on its way to the predictor ({config.ref})"
        )


def _graph(context: Context, graph: Obj, draft: Draft) -> None:
    rows, targets = [], []
    for node, value in graph.mapping("spec.nodes").items():
        kind = str(value.get("routerType") or "") if isinstance(value, Mapping) else ""
        for item in (value.get("steps") if isinstance(value, Mapping) else None) or ():
            if not isinstance(item, Mapping):
                continue
            name = str(item.get("serviceName") or "")
            where = (
                f"InferenceService {name}"
                if name
                else str(item.get("serviceUrl") or f"node {item.get('nodeName')}")
            )
            extra = f"{item['weight']}%" if "weight" in item else str(item.get("condition") or "-")
            rows.append((str(node), kind, where, extra))
            if name and name not in targets:
                targets.append(name)
    draft.table("Steps", ("node", "router", "leads to", "share or condition"), rows)
    draft.summary = chain.verdict(
        f"inference graph {graph.name}", graph, None,
        [f"{count(len(graph.mapping('spec.nodes')), 'node')} over "
         f"{listed(targets, 5) or 'no InferenceService'}"],
    )  # fmt: skip
    for name in targets:
        found = chain.step(context, kinds.INFERENCE_SERVICE, graph.namespace, name, "", 1)
        draft.link(context, "routes-to", found.ref)
    end = end_of(context, graph.namespace, graph.name)
    if end.service is not None:
        draft.link(context, "made-of", end.service.ref, end.words)
    draft.relate(context, context.into(graph), "up", look=False)
    draft.prove(proof.condition(graph, "Ready"), proof.shows(graph, "status.url"))


def _runtime(context: Context, runtime: Obj, draft: Draft) -> None:
    formats = [
        f"{item.get('name')}{f' {v}' if (v := item.get('version')) else ''}"
        + (" (auto)" if item.get("autoSelect") else "")
        for item in runtime.maps("spec.supportedModelFormats")
    ]
    users = _users(context, runtime)
    off = " (disabled)" if runtime.get("spec.disabled") is True else ""
    draft.summary = (
        f"serving runtime {runtime.name}{off} serves {listed(formats, 5) or 'no format'}; "
        f"{count(len(users), 'InferenceService')} {'name' if len(users) > 1 else 'names'} it"
    )
    ports = []
    for container in runtime.maps("spec.containers"):
        declared = [
            str(item.get("containerPort"))
            for item in container.get("ports") or ()
            if isinstance(item, Mapping)
        ]
        ports.append(
            (
                str(container.get("name")),
                str(container.get("image") or ""),
                listed(declared, 4) or "8080 by default",
            )
        )
    draft.table("Containers", ("container", "image", "ports"), ports)
    for user in users:
        draft.link(context, "used-by", user.ref, "", "up", look=False)
    related(context, runtime, draft)
    draft.prove(proof.shows(runtime, "spec.supportedModelFormats"))


def _users(context: Context, runtime: Obj) -> Sequence[Obj]:
    where = runtime.namespace or None
    return [
        item
        for item in context.world.all(kinds.INFERENCE_SERVICE, where, optional=True)
        if any(
            item.text(f"spec.{component}.model.runtime") == runtime.name
            for component, _ in component_names(item)
        )
    ]
