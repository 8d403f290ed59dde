"""A ServiceEntry: which hosts it adds to the mesh, where requests for them go."""

from __future__ import annotations

from kgdiag.explain import proof
from kgdiag.explain.base import Context, Draft
from kgdiag.explain.words import count, labels_text, listed, readiness
from kgdiag.model import kinds
from kgdiag.model.obj import Obj

KINDS = (kinds.SERVICE_ENTRY,)


def describe(context: Context, entry: Obj, draft: Draft) -> None:
    """Fill the draft for a ServiceEntry."""
    hosts = [str(host) for host in entry.items("spec.hosts")]
    inside = entry.text("spec.location", "MESH_EXTERNAL") == "MESH_INTERNAL"
    shown = [str(item) for item in entry.items("spec.exportTo")]
    visible = (
        f"seen from {listed(shown)}" if shown and "*" not in shown else "seen from everywhere in the mesh"
    )
    visible = visible.replace("from .", f"from namespace {entry.namespace}")
    draft.summary = (
        f"service entry {entry.name} makes {listed(hosts) or 'no host'} known to the mesh as "
        f"{'a part of it' if inside else 'a place outside'}; requests go to {_endpoints(context, entry)}; "
        f"{visible}"
    )
    draft.table(
        "Ports", ("port", "name", "protocol", "target"),
        [
            (str(port.get("number")), str(port.get("name") or ""), str(port.get("protocol") or "TCP"),
             str(port.get("targetPort") or port.get("number")))
            for port in entry.maps("spec.ports")
        ],
    )  # fmt: skip
    draft.table(
        "Endpoints", ("address", "ports", "labels"),
        [
            (str(item.get("address") or ""), labels_text(item.get("ports") or {}) or "as above",
             labels_text(item.get("labels") or {}) or "-")
            for item in entry.maps("spec.endpoints")
        ],
    )  # fmt: skip
    draft.relate(context, context.into(entry), "up", look=False)
    draft.relate(context, context.out(entry), "down")
    draft.prove(
        proof.shows(entry, "spec.hosts"),
        proof.shows(entry, "spec.resolution"),
        proof.shows(entry, "spec.ports"),
    )
    if not inside:
        draft.note(
            "without a sidecar or an egress gateway on the way it has no effect: it names, it does not open"
        )


def _endpoints(context: Context, entry: Obj) -> str:
    labels = entry.mapping("spec.workloadSelector.labels")
    if labels:
        wanted = {str(key): str(value) for key, value in labels.items()}
        pods = context.world.select(kinds.POD, entry.namespace, wanted)
        entries = context.world.select(kinds.WORKLOAD_ENTRY, entry.namespace, wanted, optional=True)
        return (
            f"{count(len(pods), 'pod')} ({readiness(pods)}) and {count(len(entries), 'WorkloadEntry')} "
            f"with {labels_text(wanted)}"
        )
    given = [str(item.get("address")) for item in entry.maps("spec.endpoints")]
    match entry.text("spec.resolution", "NONE"):
        case "NONE":
            return "the address that the client meant"
        case "STATIC":
            return listed(given) or "no endpoint: it has none"
        case how:
            what = listed(given) or listed(str(host) for host in entry.items("spec.hosts"))
            return f"what DNS says of {what} ({how}, asked by the proxies)"
