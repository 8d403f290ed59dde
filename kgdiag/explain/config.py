"""ConfigMaps that decide about gateways, Secrets (their certificates only), Nodes, EndpointSlices."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from kgdiag.dialects import kserve
from kgdiag.dialects.istio.mesh import mesh_of
from kgdiag.dialects.knative import configured_gateways
from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft, conditions
from kgdiag.explain.generic import related
from kgdiag.explain.words import absent, count, labels_text, listed, many, named
from kgdiag.graph.core import cluster_name
from kgdiag.model import commands, kinds
from kgdiag.model.finding import Command, Match
from kgdiag.model.obj import Obj
from kgdiag.model.ref import Ref

KINDS = (kinds.CONFIG_MAP, kinds.SECRET, kinds.NODE, kinds.ENDPOINT_SLICE)
_KSERVE_KEYS = (
    "enableGatewayApi", "kserveIngressGateway", "ingressGateway", "localGateway", "localGatewayService",
    "knativeLocalGatewayService", "ingressDomain", "ingressClassName", "domainTemplate", "pathTemplate",
    "urlScheme",
    "disableIstioVirtualHost", "disableIngressCreation",
)  # fmt: skip


def describe(context: Context, obj: Obj, draft: Draft) -> None:
    """Fill the draft for one of these kinds."""
    {
        kinds.CONFIG_MAP: _config_map,
        kinds.SECRET: _secret,
        kinds.NODE: _node,
        kinds.ENDPOINT_SLICE: _slice,
    }[obj.kind](context, obj, draft)
    if not draft.verify:
        draft.prove(proof.exists(obj.kind, obj.namespace, obj.name))


# -- ConfigMaps ------------------------------------------------------------------------------------------


def _config_map(context: Context, config: Obj, draft: Draft) -> None:
    known = {
        "config-istio": _config_istio,
        "config-domain": _config_domain,
        "config-network": _config_network,
        kserve.CONFIG: _config_kserve,
    }.get(config.name)
    if known is not None:
        known(context, config, draft)
    elif config.name == "istio" or (config.name.startswith("istio-") and "mesh" in config.mapping("data")):
        _mesh(context, config, draft)
    else:
        keys = sorted(str(key) for key in config.mapping("data"))
        draft.summary = f"config map {config.name} has {count(len(keys), 'key')}: {listed(keys, 5) or 'none'}"
    related(context, config, draft)


def _prove_key(config: Obj, key: str, contains: str) -> Command:
    step = key.replace(".", "\\.")
    return commands.get(
        kinds.CONFIG_MAP, config.namespace, config.name, jsonpath=f".data.{step}",
        expect=f"text with {contains} in it", match=Match.CONTAINS, value=contains,
    )  # fmt: skip


def _config_istio(context: Context, config: Obj, draft: Draft) -> None:
    found = configured_gateways(config)
    world, rows = context.world, []
    for item in found:
        there = world.get(kinds.ISTIO_GATEWAY, item.gateway.namespace, item.gateway.name) is not None
        state = "" if there else f" ({absent(world.missing(kinds.ISTIO_GATEWAY, *item.gateway[2:]))})"
        service = "-"
        if item.service is not None:
            seen = world.get(kinds.SERVICE, item.service.namespace, item.service.name)
            words = "" if seen else f" ({absent(world.missing(kinds.SERVICE, *item.service[2:]))})"
            service = f"{named(item.service)}{words}"
        rows.append(
            ("inside" if item.local else "outside", f"{named(item.gateway)}{state}", service, item.field)
        )
        draft.prove(proof.shows(config, item.field) if "-gateways" not in item.field
                    else _prove_key(config, item.field[6:-2], item.gateway.name))  # fmt: skip
    draft.table("Gateways", ("for requests from", "Gateway", "Service before it", "field"), rows)
    parts = []
    for local, words in ((False, "from outside"), (True, "from inside")):
        names = [named(item.gateway) for item in found if item.local is local]
        default = "knative-local-gateway" if local else "knative-ingress-gateway"
        parts.append(f"{words} through {listed(names) or f'knative-serving/{default} (the default)'}")
    draft.summary = f"config-istio tells Knative to serve requests {' and '.join(parts)}"


def _config_domain(context: Context, config: Obj, draft: Draft) -> None:
    rows = []
    for domain, value in sorted(config.mapping("data").items()):
        if domain != "_example":
            rows.append((str(domain), " ".join(str(value).split()) or "every other Route"))
    default = [domain for domain, words in rows if words == "every other Route"]
    draft.table("Domains", ("domain", "for"), rows)
    draft.summary = (
        f"config-domain gives Knative Routes the domain {listed(default)}"
        if default
        else "config-domain has no default domain: Routes that no selector matches are cluster-local"
    )
    for domain in default[:1]:
        draft.prove(_prove_names(config, domain))


def _prove_names(config: Obj, key: str) -> Command:
    return commands.get(
        kinds.CONFIG_MAP, config.namespace, config.name, jsonpath=".data", expect=f"a key {key}",
        match=Match.CONTAINS, value=json.dumps(key),
    )  # fmt: skip


def _config_network(context: Context, config: Obj, draft: Draft) -> None:
    data = {str(key): str(value) for key, value in config.mapping("data").items() if key != "_example"}
    klass = data.get("ingress-class") or data.get("ingress.class") or "istio.ingress.networking.knative.dev"
    draft.summary = (
        f"config-network: Knative's ingresses are made by {klass.partition('.')[0]}"
        + (f"; names follow {data['domain-template']}" if "domain-template" in data else "")
        + (f"; external TLS {data['external-domain-tls']}" if "external-domain-tls" in data else "")
    )
    draft.table("Settings", ("key", "value"), sorted(data.items()))
    for key in sorted(data)[:4]:
        draft.prove(proof.shows(config, f"data['{key}']"))


def _config_kserve(context: Context, config: Obj, draft: Draft) -> None:
    found = kserve.ingress_config(config)
    if found.problem:
        draft.summary = f"inferenceservice-config: {found.problem}"
        return
    rows = [
        (key, str(found.values[key]), "; ".join(_there(context, key, str(found.values[key]))))
        for key in _KSERVE_KEYS
        if key in found.values
    ]
    draft.table("Key ingress", ("setting", "value", "what is there"), rows)
    outside = found.values.get("kserveIngressGateway") or found.values.get("ingressGateway")
    if found.values.get("enableGatewayApi") is not True:
        outside = found.values.get("ingressGateway")
    inside = found.values.get("localGatewayService")
    draft.summary = f"inferenceservice-config tells KServe to serve models outside on Gateway {outside}" + (
        f" and inside through {inside}" if inside else ""
    )
    draft.prove(*(_prove_key(config, "ingress", str(value)) for value in (outside, inside) if value))


def _there(context: Context, key: str, value: str) -> Iterator[str]:
    host = cluster_name(value.rstrip("."))
    if host:
        service = context.world.get(kinds.SERVICE, host[1], host[0])
        yield (
            "the Service exists"
            if service
            else absent(context.world.missing(kinds.SERVICE, host[1], host[0]))
        )
    elif "Gateway" in key and "/" in value:
        namespace, _, name = value.partition("/")
        kind = kinds.GATEWAY if key == "kserveIngressGateway" else kinds.ISTIO_GATEWAY
        there = context.world.get(kind, namespace, name, optional=True)
        yield "the Gateway exists" if there else absent(context.world.missing(kind, namespace, name))


def _mesh(context: Context, config: Obj, draft: Draft) -> None:
    mesh = mesh_of(context.world)
    shown = mesh if mesh.control_plane == config.namespace and config.name == "istio" else None
    if shown is None:
        draft.summary = (
            f"config map {config.name} is the mesh configuration of another revision than the default"
        )
        return
    switches = [
        f"{key}={value}"
        for key, value in sorted(mesh.features.items())
        if key.startswith(("PILOT_", "ENABLE_"))
    ]
    draft.summary = (
        f"mesh configuration of istiod in {config.namespace}: root namespace {mesh.root_namespace}, "
        f"unknown destinations are {'let out' if mesh.outbound == 'ALLOW_ANY' else 'refused'}"
        f" ({mesh.outbound}), auto mTLS {'on' if mesh.auto_mtls else 'off'}"
    )
    rows = [
        ("trustDomain", mesh.trust_domain),
        ("defaultVirtualServiceExportTo", listed(mesh.virtual_service_export_to)),
        ("extensionProviders", listed(mesh.extension_providers) or "none"),
        ("accessLogFile", mesh.access_log_file or "none"),
        ("ingressClass", f"{mesh.ingress_class} ({mesh.ingress_controller_mode})"),
        ("istiod's switches", listed(switches, 8) or "defaults"),
    ]
    draft.table("Settings", ("setting", "value"), rows)
    draft.prove(_prove_key(config, "mesh", mesh.trust_domain if "trustDomain" in mesh.raw else ":"))


# -- Secrets ---------------------------------------------------------------------------------------------


def _secret(context: Context, secret: Obj, draft: Draft) -> None:
    keys, facts = [str(key) for key in secret.items("keys")], secret.mapping("certificate")
    name = f"secret {secret.name}"
    if not facts:
        has = f"its keys are {listed(keys, 6)} (values are not read)" if keys else "it has no keys"
        draft.summary = f"{name} holds no certificate; {has}"
    else:
        draft.summary = _certificate(name, facts)
        rows = [
            ("names", listed((str(item) for item in facts.get("sans") or ()), 8) or "none"),
            ("subject", str(facts.get("subject") or "-")),
            (
                "issuer",
                str(facts.get("issuer") or "-") + (" (self-signed)" if facts.get("selfSigned") else ""),
            ),
            ("valid", f"{facts.get('notBefore')} to {facts.get('notAfter')}"),
            ("key", str(facts.get("keyType") or "-")),
        ]
        draft.table("Certificate", ("what", "value"), rows if facts.get("notAfter") else ())
        bundle = facts.get("caBundle")
        draft.table(
            "CAs that clients are checked against", ("subject", "valid until"),
            [(str(item.get("subject")), str(item.get("notAfter")))
             for item in (bundle if isinstance(bundle, list) else ()) if isinstance(item, Mapping)],
        )  # fmt: skip
    related(context, secret, draft)
    draft.prove(proof.shows(secret, "type"))


def _certificate(name: str, facts: Mapping[str, object]) -> str:
    if facts.get("problem"):
        return f"{name}: {facts['problem']}"
    if not facts.get("notAfter"):
        return f"{name} holds CA certificates only"
    sans = facts.get("sans")
    hosts = listed((str(item) for item in sans), 4) if isinstance(sans, list) and sans else "no name"
    key = {True: "its key fits", False: "its key is another certificate's"}.get(
        facts.get("keyMatches"),
        "it has no key",  # type: ignore[call-overload]
    )
    return f"{name} holds a certificate for {hosts}, valid until {facts['notAfter']}; {key}"


# -- Nodes and EndpointSlices ----------------------------------------------------------------------------


def _node(context: Context, node: Obj, draft: Draft) -> None:
    addresses = [f"{item.get('type')} {item.get('address')}" for item in node.maps("status.addresses")]
    ready = next((row[1] for row in conditions(node) if row[0] == "Ready"), "unknown")
    how = {"True": "is ready", "unknown": "says nothing of itself"}.get(
        ready, f"is not ready (Ready={ready})"
    )
    draft.summary = f"node {node.name} {how}; " + (listed(addresses, 4) or "no address")
    taints = [f"{item.get('key')}:{item.get('effect')}" for item in node.maps("spec.taints")]
    if node.get("spec.unschedulable") is True:
        draft.note("it is cordoned: no new pods come to it")
    if taints:
        draft.note(f"taints: {listed(taints, 6)}")
    services = [
        item
        for item in context.world.all(kinds.SERVICE, optional=True)
        if any(port.get("nodePort") for port in item.maps("spec.ports"))
    ]
    draft.table(
        "Node ports", ("node port", "Service and port"),
        sorted(
            (str(port["nodePort"]), f"{named(item.ref)}:{port.get('port')}")
            for item in services
            for port in item.maps("spec.ports")
            if port.get("nodePort")
        ),
    )  # fmt: skip
    draft.table("Conditions", ("condition", "status", "reason", "message"), conditions(node))
    draft.prove(proof.condition(node, "Ready"))


def _slice(context: Context, item: Obj, draft: Draft) -> None:
    service = item.labels.get("kubernetes.io/service-name", "")
    endpoints, rows, ready = item.maps("endpoints"), [], 0
    for endpoint in endpoints:
        said = endpoint.get("conditions")
        said = said if isinstance(said, Mapping) else {}
        good = said.get("ready") in (None, True)
        ready += good
        target = endpoint.get("targetRef")
        who = f"{target.get('kind')} {target.get('name')}" if isinstance(target, Mapping) else "-"
        state = "ready" if good else "terminating" if said.get("terminating") else "not ready"
        rows.append(
            (
                listed(map(str, endpoint.get("addresses") or ())),
                state,
                who,
                str(endpoint.get("nodeName") or "-"),
            )
        )
    ports = [f"{port.get('name') or ''} {port.get('port')}".strip() for port in item.maps("ports")]
    made = item.labels.get("endpointslice.kubernetes.io/managed-by", "hand")
    whose = (
        f"of Service {service}" if service else "of no Service (label kubernetes.io/service-name is missing)"
    )
    draft.summary = (
        f"endpoint slice {item.name} {whose} has {ready}/{len(endpoints)} endpoints ready on "
        f"{many(len(ports), 'port')} {listed(ports) or 'none'}; made by {made}"
    )
    draft.table("Endpoints", ("address", "state", "pod", "node"), rows)
    if service:
        found = context.world.get(kinds.SERVICE, item.namespace, service, optional=True)
        selector = found.mapping("spec.selector") if found else {}
        words = f"selector {labels_text(selector)}" if selector else ""
        draft.link(context, "endpoint-of", Ref("", "Service", item.namespace, service), words)
    for endpoint in endpoints:
        target = endpoint.get("targetRef")
        if isinstance(target, Mapping) and target.get("kind") == "Pod":
            where = str(target.get("namespace") or item.namespace)
            draft.link(context, "has-endpoint", Ref("", "Pod", where, str(target.get("name"))))
    draft.prove(proof.shows(item, "ports"), proof.shows(item, "endpoints[0].conditions.ready"))
