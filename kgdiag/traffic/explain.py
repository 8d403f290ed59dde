"""What became of requests, in terms of the objects of a cluster where there is one.

A pure function of lines and a World. The lines say who wrote the status and what the proxy knew; why it was
so is asked of the declared objects by tracing the same request through the same listener (``kgdiag.trace``).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kgdiag.dialects.base import Dialect
from kgdiag.errors import KgdiagError
from kgdiag.graph.core import cluster_ips, containers, resolve_target, service_ports, services_of
from kgdiag.graph.world import World
from kgdiag.model import kinds
from kgdiag.model.finding import Command, Match
from kgdiag.model.obj import Evidence, Obj
from kgdiag.model.proxies import admin_of, is_gateway
from kgdiag.model.ref import Ref
from kgdiag.model.trace import PathTaken, Question, Result
from kgdiag.traffic.flags import FLAGS, Policy, cause_of, details_meaning, policy_of
from kgdiag.traffic.join import Joined
from kgdiag.traffic.line import Line
from kgdiag.traffic.model import Cause, Ended, Explained, Seen, masked
from kgdiag.traffic.names import SPECIAL, route_of, upstream_of

MOST_TRACED = 16
"""Failed requests that are traced through the declared objects; those that are alike count as one."""

_RUNTIME = {
    "UF",
    "UC",
    "UR",
    "UT",
    "UO",
    "UPE",
    "UMSDR",
    "DC",
    "DR",
    "DPE",
    "DT",
    "SI",
    "LR",
    "OM",
    "RL",
    "RLSE",
    "DF",
}
_SECURITY = "security.istio.io"
_BY_SIDECARS = (403, 404, 426, 500, 502, 503, 504)  # statuses that an inbound sidecar may write too


def explain(
    requests: Iterable[Joined], world: World | None = None, dialects: Sequence[Dialect] = ()
) -> tuple[tuple[Explained, ...], tuple[str, ...]]:
    """Each request explained, and notes on all of them. Without a World by the names in the lines alone."""
    work = _Explainer(world, dialects)
    found = tuple(work.explain(one) for one in requests)
    return found, tuple(work.notes)


@dataclass
class _Explainer:
    world: World | None
    dialects: Sequence[Dialect]
    notes: dict[str, None] = field(default_factory=dict)
    traced: dict[object, tuple[Cause, ...]] = field(default_factory=dict)

    # -- one request -----------------------------------------------------------------------------------

    def explain(self, joined: Joined) -> Explained:
        hops = tuple(
            self._seen(line, before) for line, before in zip(joined.lines, joined.before, strict=True)
        )
        last = _author(joined)
        hop = hops[last]
        ended, summary, by = self._verdict(hop, hops, joined, last)
        causes: tuple[Cause, ...] = ()
        if ended in (Ended.REFUSED, Ended.UNANSWERED) and self.world is not None:
            causes = self._causes(self.world, hop)
        first = joined.first
        status = first.status
        return Explained(
            hops,
            ended,
            summary,
            last,
            by,
            causes,
            method=first.method,
            authority=first.authority,
            path=first.path,
            status=status,
        )

    def _seen(self, line: Line, before: int | None) -> Seen:
        pod = self._proxy_pod(line)
        proxy = line.proxy or (pod.ref if pod is not None else None)
        role = _role(line, pod)
        upstream = upstream_of(line.cluster) or (None if line.cluster else upstream_of(line.route))
        service, port = (upstream.service, upstream.port) if upstream else (None, None)
        route = route_of(line.route) or (upstream.route if upstream else None)
        own = upstream is not None and upstream.direction == "inbound"
        if line.cluster == "PassthroughCluster" and line.upstream and self.world is not None:
            known = cluster_ips(self.world).get(line.upstream.ip)
            service, port = (known.ref, line.upstream.port) if known is not None else (None, None)
        behind = None if own else self._pod_at(line.upstream.ip if line.upstream else "", line)
        return Seen(
            line,
            role,
            meaning_of(line),
            proxy,
            None if own else service,
            port,
            upstream.subset if upstream else "",
            behind.ref if behind is not None else None,
            route,
            before,
        )

    # -- who answered ----------------------------------------------------------------------------------

    def _verdict(
        self, hop: Seen, hops: tuple[Seen, ...], joined: Joined, at: int
    ) -> tuple[Ended, str, Ref | None]:
        line = hop.line
        who = _who(hop)
        if line.via_upstream:
            return self._from_behind(hop)
        if line.tcp and not line.flags and not line.status:
            where = f" to {place_of(hop)}" if place_of(hop) else ""
            return (
                Ended.ANSWERED,
                f"{who} passed the connection on{where} as bytes, without HTTP",
                hop.upstream,
            )
        meaning = hop.meaning or "it does not say why"
        below = [hops[index] for index in joined.behind(at) if not hops[index].line.via_upstream]
        also = "".join(f"; {_who(one)} logged {status_words(one.line)}: {one.meaning}" for one in below[:2])
        if not line.status:
            return Ended.UNANSWERED, f"no answer: {who} closed the connection: {meaning}{also}", hop.proxy
        if line.status < 400 and not line.flags and line.grpc_status in ("", "0", "OK"):
            return Ended.ANSWERED, f"{line.status} from {who}: {meaning}", hop.proxy
        return Ended.REFUSED, f"{status_words(line)} from {who}: {meaning}{also}", hop.proxy

    def _from_behind(self, hop: Seen) -> tuple[Ended, str, Ref | None]:
        line = hop.line
        if hop.role == "sidecar-inbound":
            good = "" if _fine(line) else ": every proxy passed the request on, routing is fine"
            return (
                Ended.ANSWERED,
                f"{line.status} from the application of {_name(hop.proxy, line)}{good}",
                hop.proxy,
            )
        pod = self._pod_at(line.upstream.ip if line.upstream else "", line)
        where = place_of(hop) or "the endpoint"
        if pod is None:
            own = "" if _fine(line) else " (the application, or a proxy before it whose line is not here)"
            own += f"; {line.cluster}: {SPECIAL[line.cluster]}" if line.cluster in SPECIAL and own else ""
            return Ended.ANSWERED, f"{line.status} from {where}{own}", hop.upstream
        if admin_of(pod) is None or _fine(line) or line.status not in _BY_SIDECARS:
            good = "" if _fine(line) else ": every proxy passed the request on, routing is fine"
            return (
                Ended.ANSWERED,
                f"{line.status} from the application of pod {_slash(pod.ref)}{good}",
                pod.ref,
            )
        what = "its own proxy" if admin_of(pod) else "a proxy"
        words = (
            f"{line.status} from pod {_slash(pod.ref)}: its application or {what} answered, whose line is "
            f"not here (kgdiag logs {pod.name} -n {pod.namespace})"
        )
        return Ended.UNKNOWN, words, pod.ref

    # -- objects ---------------------------------------------------------------------------------------

    def _proxy_pod(self, line: Line) -> Obj | None:
        if self.world is None:
            return None
        if line.proxy is not None:
            return self.world.get(kinds.POD, line.proxy.namespace, line.proxy.name, optional=True)
        if line.proxy_hint:
            named = [pod for pod in self._pods() if pod.name == line.proxy_hint]
            if len(named) == 1:
                return named[0]
        return self._pod_at(line.proxy_ip, line) or (
            self._pod_at(line.remote.ip, line) if line.remote and not line.upstream else None
        )

    def _pods(self) -> list[Obj]:
        return self.world.all(kinds.POD, optional=True) if self.world is not None else []

    def _pod_at(self, ip: str, line: Line) -> Obj | None:
        """The pod that had an address when the line was written: addresses are given out again."""
        if not ip or self.world is None:
            return None
        pods = self._pods()
        by_ip: dict[str, list[Obj]] = self.world.memo("pods of each address", lambda: _by_ip(pods))
        when = line.time.isoformat() if line.time else ""
        able = [
            pod for pod in by_ip.get(ip, ()) if not when or not pod.created or pod.created[:19] <= when[:19]
        ]
        return able[0] if len(able) == 1 else None

    # -- why -------------------------------------------------------------------------------------------

    def _causes(self, world: World, hop: Seen) -> tuple[Cause, ...]:
        line = hop.line
        policy = policy_of(line.details) or policy_of(line.termination)
        if policy is not None and (policy.name or policy.text == "none"):
            return self._policies(world, hop, policy)
        if line.inbound and "UF" in line.flags:
            return self._unanswered_port(world, self._proxy_pod(line), hop.port)
        place = line.cluster or line.path
        key = (
            hop.proxy,
            line.local,
            line.authority,
            line.method,
            line.status,
            line.flags,
            line.details,
            place,
        )
        if key not in self.traced:
            if len(self.traced) >= MOST_TRACED:
                self.notes[f"causes were looked for of the first {MOST_TRACED} different failures only"] = (
                    None
                )
                return ()
            self.traced[key] = self._declared(world, hop)
        return self.traced[key]

    def _policies(self, world: World, hop: Seen, policy: Policy) -> tuple[Cause, ...]:
        if policy.name:
            ref = Ref(_SECURITY, "AuthorizationPolicy", policy.namespace, policy.name)
            obj = world.find(ref, optional=True)
            if obj is None:
                why = "it does not exist any more" if world.complete else "it is not in these files"
                return (Cause(f"{ref} denied it, by its rule {policy.rule}; {why}", (ref,)),)
            evidence = [obj.evidence("spec.action", obj.text("spec.action", "ALLOW"))]
            evidence += [obj.evidence(f"spec.rules[{policy.rule}]")] if obj.items("spec.rules") else []
            command = _get(obj, f"{{.spec.rules[{policy.rule}]}}", "the rule that matched the request")
            words = (
                f"{ref} (action {obj.text('spec.action', 'ALLOW')}) denied it: its rule {policy.rule} matched"
            )
            fix = f"narrow spec.rules[{policy.rule}] of {ref} if this request is to pass"
            return (Cause(words, (ref,), tuple(evidence), fix, (command,)),)
        pod = self._proxy_pod(hop.line)
        if pod is None:
            return ()
        allowing = _allowing(world, pod)
        if not allowing:
            return ()
        names = ", ".join(f"{one.namespace}/{one.name}" for one in allowing[:6])
        words = f"no rule of the ALLOW policies for pod {_slash(pod.ref)} matches it: {names}"
        evidence = [one.evidence("spec.rules") for one in allowing[:4]]
        fix = "add a rule for this request (its principal, method, path and pod port) to one of them"
        commands = tuple(_get(one, "{.spec}", "what it allows") for one in allowing[:3])
        return (Cause(words, tuple(one.ref for one in allowing), tuple(evidence), fix, commands),)

    def _unanswered_port(self, world: World, pod: Obj | None, port: int | None) -> tuple[Cause, ...]:
        """A pod that does not take connections on a port."""
        if pod is None or port is None:
            return ()
        leading = [
            service
            for service in services_of(world, pod)
            if any(resolve_target(pod, declared) == port for declared in service_ports(service))
        ]
        names = ", ".join(_slash(one.ref) for one in leading)
        declared = sorted(
            {
                item.get("containerPort")
                for container in containers(pod)
                for item in container.get("ports") or ()
                if isinstance(item, dict) and container.get("name") != "istio-proxy"
            },
            key=str,
        )
        by = f" (Service {names} leads there)" if names else ""
        has = f"; its containers declare {', '.join(map(str, declared))}" if declared else ""
        words = (
            f"nothing in pod {_slash(pod.ref)} listens on port {port} of its address{by}{has}: a wrong "
            "targetPort, or an application that listens on 127.0.0.1 only"
        )
        evidence = tuple(one.evidence("spec.ports") for one in leading[:2])
        fix = "let the application listen on 0.0.0.0, or set targetPort to the port that it has"
        return (Cause(words, (pod.ref, *(one.ref for one in leading)), evidence, fix),)

    def _declared(self, world: World, hop: Seen) -> tuple[Cause, ...]:
        """What the declared objects say of the same request at the same listener."""
        from kgdiag.trace import trace

        question = question_of(hop)
        if question is None:
            return ()
        try:
            paths = trace(world, question, self.dialects).paths
        except KgdiagError:
            return ()
        line = hop.line
        same = [
            path
            for path in paths
            if path.outcome.result is Result.REFUSED and path.outcome.status == (line.status or None)
        ]
        if same:
            return causes_of(same)
        if _RUNTIME & set(line.flags):
            # What is declared leads there; that nobody listens, or not in time, is declared nowhere.
            if "refused" not in f"{line.details} {line.failure}".lower() or line.upstream is None:
                return ()
            pod = self._pod_at(line.upstream.ip, line)
            if pod is None:
                return self._of_service(world, hop)
            return self._unanswered_port(world, pod, line.upstream.port)
        if any(path.outcome.result is Result.UNKNOWN for path in paths) or not paths:
            return ()
        if line.cluster and all(path.outcome.flag == "NR" for path in paths):
            # The log has the host after rewrites: asked with that one, the route that was taken is not found.
            return self._of_service(world, hop)
        now = "; ".join(dict.fromkeys(path.outcome.reason for path in paths[:3]))
        words = (
            f"as it is declared now: {now}. So the objects have changed since, the proxy has not what is "
            f"declared, or headers decide, which the log has not: {trace_command(question)} --truth both"
        )
        return (Cause(words, tuple(dict.fromkeys(path.entry for path in paths[:1]))),)

    def _of_service(self, world: World, hop: Seen) -> tuple[Cause, ...]:
        """Why the Service of a cluster does not answer, whatever route led there."""
        from kgdiag.trace import trace
        from kgdiag.trace.question import parse_question

        if hop.service is None or hop.port is None or hop.proxy is None or not hop.line.flags:
            return ()
        host = f"{hop.service.name}.{hop.service.namespace}.svc.cluster.local"
        pod = f"pod/{hop.proxy.name}.{hop.proxy.namespace}"
        try:
            question = parse_question(f"http://{host}:{hop.port}/", origin=pod, namespace=hop.proxy.namespace)
            paths = trace(world, question, self.dialects).paths
        except (KgdiagError, ValueError):
            return ()
        refused = [path for path in paths if path.outcome.result is Result.REFUSED]
        return causes_of(refused)


# -- one line ----------------------------------------------------------------------------------------------


def meaning_of(line: Line) -> str:
    """What a proxy says of a request, in plain words."""
    words = details_meaning(line.details)
    if line.via_upstream:
        return words or "the status came from behind this proxy"
    flags = [FLAGS[flag].meaning for flag in line.flags if flag in FLAGS]
    parts = [words or "; ".join(flags)]
    # Details of a reset say more than the flags; flags that say something else are added.
    if words and "URX" in line.flags:
        parts.append("the retries are used up")
    if words and not line.details.startswith(("upstream_reset", "route_", "cluster_", "no_healthy")):
        parts += [text for text in flags if text not in words]
    why = cause_of(line.failure)
    if why and why not in parts[0]:
        parts.append(why)
    if line.cluster in SPECIAL:
        parts.append(SPECIAL[line.cluster])
    elif line.route in SPECIAL:
        parts.append(SPECIAL[line.route])
    if not any(parts):
        denied = details_meaning(line.termination)
        parts = [denied] if denied else [line.details.replace("_", " ")] if line.details else []
    if not any(parts) and not line.upstream_name and line.status:
        parts = ["the proxy answers by itself: it asked no endpoint"]
    return "; ".join(dict.fromkeys(part for part in parts if part))


def status_words(line: Line) -> str:
    """``503 URX,UF``."""
    status = str(line.status) if line.status is not None else "-"
    return f"{status} {','.join(line.flags)}" if line.flags else status


def place_of(hop: Seen) -> str:
    """Where a proxy sent the request: pod, Service and address, as far as they are known."""
    line = hop.line
    port = f":{hop.port}" if hop.port else ""
    service = f"Service {_slash(hop.service)}{port}" if hop.service else ""
    service += f" subset {hop.subset}" if service and hop.subset else ""
    upstream = upstream_of(line.cluster)
    host = upstream.host if upstream and not service else ""
    pod = f"pod {_slash(hop.upstream)}" if hop.upstream else ""
    at = pod or line.upstream_name
    return f"{at} of {service or host}" if at and (service or host) else at or service or host


def _author(joined: Joined) -> int:
    """The line whose proxy wrote the status, else the last that saw it come from behind."""
    at, lines = 0, joined.lines
    while lines[at].via_upstream:
        able = [one for one in joined.behind(at) if lines[one].status == lines[at].status]
        # The line in between may not be there (a proxy whose log was not read); the id goes on.
        able = (
            able
            or [
                one
                for one in range(at + 1, len(lines))
                if joined.before[one] is None and lines[one].status == lines[at].status
            ][:1]
        )
        if not able:
            break
        at = able[-1]
    return at


def _role(line: Line, pod: Obj | None) -> str:
    if line.inbound:
        return "sidecar-inbound"
    if pod is not None:
        return "gateway" if is_gateway(pod) else "sidecar-outbound"
    if line.cluster in ("PassthroughCluster", "BlackHoleCluster") or line.route in ("block_all", "allow_any"):
        return "sidecar-outbound"
    own = line.upstream_local
    if own is None or line.local is None:
        return "proxy"
    if line.local.ip == own.ip:
        return "gateway"
    mine = line.remote is not None and (line.remote.ip == own.ip or line.remote.ip.startswith("127."))
    return "sidecar-outbound" if mine else "proxy"


def _who(hop: Seen) -> str:
    names = {
        "gateway": "the gateway",
        "sidecar-inbound": "the sidecar of the application",
        "sidecar-outbound": "the sidecar of the client",
        "proxy": "the proxy",
    }
    where = _name(hop.proxy, hop.line)
    port = f", listener {hop.line.local.port}" if hop.line.local and hop.role in ("gateway", "proxy") else ""
    return f"{names[hop.role]} ({where}{port})" if where else names[hop.role]


def _name(ref: Ref | None, line: Line) -> str:
    return f"pod {_slash(ref)}" if ref else line.proxy_hint or line.proxy_ip


def _slash(ref: Ref | None) -> str:
    return f"{ref.namespace}/{ref.name}" if ref else ""


def _fine(line: Line) -> bool:
    return line.status is not None and 0 < line.status < 400


def _by_ip(pods: Iterable[Obj]) -> dict[str, list[Obj]]:
    found: dict[str, list[Obj]] = {}
    for pod in pods:
        if pod.get("spec.hostNetwork") is True or pod.text("status.phase") in ("Succeeded", "Failed"):
            continue
        own = (pod.text("status.podIP"), *(str(item.get("ip")) for item in pod.maps("status.podIPs")))
        for ip in dict.fromkeys(own):
            if ip:
                found.setdefault(ip, []).append(pod)
    return found


# -- the declared objects ----------------------------------------------------------------------------------


def question_of(hop: Seen) -> Question | None:
    """The request of a line as a question to ``trace``: through the same listener, or from the same pod."""
    from kgdiag.trace.question import parse_question

    line = hop.line
    if hop.proxy is None or line.local is None or line.inbound or line.tcp:
        return None
    pod = f"pod/{hop.proxy.name}.{hop.proxy.namespace}"
    mesh = bool(upstream_of(line.sni))
    scheme = "https" if line.sni else "http"
    host = line.sni or (f"[{line.local.ip}]" if ":" in line.local.ip else line.local.ip)
    gateway = hop.role != "sidecar-outbound"
    try:
        return parse_question(
            f"{scheme}://{host}:{line.local.port}{line.path or '/'}",
            method=line.method or "GET",
            headers=[f"Host: {line.authority}"] if line.authority else [],
            via=f"{pod}:{line.local.port}" if gateway else "",
            origin="" if gateway else pod,
            client_cert="mesh" if mesh else "none",
            namespace=hop.proxy.namespace,
        )
    except (KgdiagError, ValueError):
        return None


def trace_command(question: Question) -> str:
    """The command line that asks the same."""
    import shlex

    argv = ["kgdiag", "trace", masked(question.url)]
    argv += ["-X", question.request.method] if question.request.method != "GET" else []
    argv += ["-H", f"Host: {question.request.authority}"] if question.request.authority else []
    argv += ["--via", question.via] if question.via else ["--from", question.origin]
    argv += ["--client-cert", question.client_cert] if question.client_cert != "none" else []
    return shlex.join(argv)


def causes_of(paths: Iterable[PathTaken]) -> tuple[Cause, ...]:
    """Where traced ways end, as causes: one for each reason, the first three."""
    found = {path.outcome.reason: path for path in reversed(list(paths))}
    return tuple(_cause(path) for path in list(found.values())[::-1][:3])


def _cause(path: PathTaken) -> Cause:
    outcome = path.outcome
    last = path.hops[-1] if path.hops else None
    objects = dict.fromkeys(outcome.blame)
    evidence: tuple[Evidence, ...] = ()
    commands: tuple[Command, ...] = ()
    if last is not None:
        objects |= dict.fromkeys((last.object, *(loser.object for loser in last.rejected[:2])))
        evidence, commands = last.evidence, tuple(dict.fromkeys(last.verify))
        # Where the last hop is a proxy's, what led there is one before.
        objects |= dict.fromkeys(hop.object for hop in reversed(path.hops[:-1]) if hop.object.kind != "Pod")
    return Cause(outcome.reason, tuple(objects), evidence, outcome.fix, commands)


def _allowing(world: World, pod: Obj) -> list[Obj]:
    """The ALLOW policies for a pod: of its namespace and of the root namespace, by their selectors."""
    from kgdiag.dialects.istio.mesh import mesh_of

    root = mesh_of(world, pod).root_namespace
    found = []
    for namespace in dict.fromkeys((root, pod.namespace)):
        for policy in world.all(kinds.AUTHORIZATION_POLICY, namespace, optional=True):
            wanted = policy.mapping("spec.selector.matchLabels")
            bound = policy.items("spec.targetRefs") or policy.mapping("spec.targetRef")
            if policy.text("spec.action", "ALLOW") != "ALLOW" or bound:
                continue
            if all(pod.labels.get(key) == value for key, value in wanted.items()):
                found.append(policy)
    return found


def _get(obj: Obj, field_path: str, expect: str) -> Command:
    argv = (
        "kubectl",
        "get",
        obj.kind.resource,
        obj.name,
        "-n",
        obj.namespace,
        "-o",
        f"jsonpath={field_path}",
    )
    return Command(argv, expect, Match.ANY)


__all__ = ["causes_of", "explain", "meaning_of", "place_of", "question_of", "status_words"]
