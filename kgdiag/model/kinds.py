"""The kinds that kgdiag reads, one line each.

A kind that only one gateway implementation knows is declared in that implementation's dialect instead.
"""

from __future__ import annotations

from kgdiag.model.kind import Kind

_ISTIO = ("v1", "v1beta1", "v1alpha3")
_ISTIO_SECURITY = ("v1", "v1beta1")
_GW = ("v1", "v1beta1", "v1alpha2")
_GW_EXPERIMENTAL = ("v1alpha2", "v1alpha3", "v1")
_IST, _SEC, _GWAPI = "networking.istio.io", "security.istio.io", "gateway.networking.k8s.io"
_KN, _KNI, _KSERVE = "serving.knative.dev", "networking.internal.knative.dev", "serving.kserve.io"

# core, apps, networking.k8s.io
NAMESPACE = Kind("", "Namespace", "namespaces", ("ns",), namespaced=False)
NODE = Kind("", "Node", "nodes", ("no",), namespaced=False)
POD = Kind("", "Pod", "pods", ("po",))
SERVICE = Kind("", "Service", "services", ("svc",))
ENDPOINTS = Kind("", "Endpoints", "endpoints", ("ep",))
CONFIG_MAP = Kind("", "ConfigMap", "configmaps", ("cm",))
SECRET = Kind("", "Secret", "secrets")
SERVICE_ACCOUNT = Kind("", "ServiceAccount", "serviceaccounts", ("sa",))
ENDPOINT_SLICE = Kind("discovery.k8s.io", "EndpointSlice", "endpointslices", (), ("v1", "v1beta1"))
DEPLOYMENT = Kind("apps", "Deployment", "deployments", ("deploy",))
REPLICA_SET = Kind("apps", "ReplicaSet", "replicasets", ("rs",))
STATEFUL_SET = Kind("apps", "StatefulSet", "statefulsets", ("sts",))
DAEMON_SET = Kind("apps", "DaemonSet", "daemonsets", ("ds",))
JOB = Kind("batch", "Job", "jobs")
NETWORK_POLICY = Kind("networking.k8s.io", "NetworkPolicy", "networkpolicies", ("netpol",))
INGRESS = Kind("networking.k8s.io", "Ingress", "ingresses", ("ing",), ("v1", "v1beta1"))
INGRESS_CLASS = Kind("networking.k8s.io", "IngressClass", "ingressclasses", namespaced=False)
CRD = Kind(
    "apiextensions.k8s.io",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    ("crd",),
    namespaced=False,
)
MUTATING_WEBHOOK = Kind(
    "admissionregistration.k8s.io",
    "MutatingWebhookConfiguration",
    "mutatingwebhookconfigurations",
    namespaced=False,
)

# Istio
ISTIO_GATEWAY = Kind(_IST, "Gateway", "gateways", ("gw",), _ISTIO)
VIRTUAL_SERVICE = Kind(_IST, "VirtualService", "virtualservices", ("vs",), _ISTIO)
DESTINATION_RULE = Kind(_IST, "DestinationRule", "destinationrules", ("dr",), _ISTIO)
SERVICE_ENTRY = Kind(_IST, "ServiceEntry", "serviceentries", ("se",), _ISTIO)
WORKLOAD_ENTRY = Kind(_IST, "WorkloadEntry", "workloadentries", ("we",), _ISTIO)
WORKLOAD_GROUP = Kind(_IST, "WorkloadGroup", "workloadgroups", ("wg",), _ISTIO)
SIDECAR = Kind(_IST, "Sidecar", "sidecars", (), _ISTIO)
ENVOY_FILTER = Kind(_IST, "EnvoyFilter", "envoyfilters", (), ("v1alpha3",))
PROXY_CONFIG = Kind(_IST, "ProxyConfig", "proxyconfigs", (), ("v1beta1",))
PEER_AUTHENTICATION = Kind(_SEC, "PeerAuthentication", "peerauthentications", ("pa",), _ISTIO_SECURITY)
REQUEST_AUTHENTICATION = Kind(
    _SEC, "RequestAuthentication", "requestauthentications", ("ra",), _ISTIO_SECURITY
)
AUTHORIZATION_POLICY = Kind(_SEC, "AuthorizationPolicy", "authorizationpolicies", ("ap",), _ISTIO_SECURITY)
TELEMETRY = Kind("telemetry.istio.io", "Telemetry", "telemetries", ("telemetry",), ("v1", "v1alpha1"))

# Gateway API
GATEWAY_CLASS = Kind(_GWAPI, "GatewayClass", "gatewayclasses", ("gc",), _GW, namespaced=False)
GATEWAY = Kind(_GWAPI, "Gateway", "gateways", ("gtw",), _GW)
LISTENER_SET = Kind(_GWAPI, "ListenerSet", "listenersets", (), ("v1",))
XLISTENER_SET = Kind("gateway.networking.x-k8s.io", "XListenerSet", "xlistenersets", ("lset",), ("v1alpha1",))
HTTP_ROUTE = Kind(_GWAPI, "HTTPRoute", "httproutes", (), _GW)
GRPC_ROUTE = Kind(_GWAPI, "GRPCRoute", "grpcroutes", (), _GW)
TLS_ROUTE = Kind(_GWAPI, "TLSRoute", "tlsroutes", (), _GW_EXPERIMENTAL)
TCP_ROUTE = Kind(_GWAPI, "TCPRoute", "tcproutes", (), _GW_EXPERIMENTAL)
UDP_ROUTE = Kind(_GWAPI, "UDPRoute", "udproutes", (), _GW_EXPERIMENTAL)
REFERENCE_GRANT = Kind(_GWAPI, "ReferenceGrant", "referencegrants", ("refgrant",), _GW)
BACKEND_TLS_POLICY = Kind(
    _GWAPI, "BackendTLSPolicy", "backendtlspolicies", ("btlspolicy",), ("v1", "v1alpha3", "v1alpha2")
)

# Knative
KNATIVE_SERVICE = Kind(_KN, "Service", "services", ("ksvc", "kservice"))
KNATIVE_ROUTE = Kind(_KN, "Route", "routes", ("rt",))
KNATIVE_CONFIGURATION = Kind(_KN, "Configuration", "configurations", ("cfg",))
KNATIVE_REVISION = Kind(_KN, "Revision", "revisions", ("rev",))
DOMAIN_MAPPING = Kind(_KN, "DomainMapping", "domainmappings", ("dm",), ("v1beta1", "v1alpha1"))
KNATIVE_INGRESS = Kind(_KNI, "Ingress", "ingresses", ("kingress", "king"), ("v1alpha1",))
SERVERLESS_SERVICE = Kind(_KNI, "ServerlessService", "serverlessservices", ("sks",), ("v1alpha1",))
POD_AUTOSCALER = Kind(
    "autoscaling.internal.knative.dev",
    "PodAutoscaler",
    "podautoscalers",
    ("kpa", "pa.knative"),
    ("v1alpha1",),
)

# KServe
INFERENCE_SERVICE = Kind(_KSERVE, "InferenceService", "inferenceservices", ("isvc",), ("v1beta1",))
INFERENCE_GRAPH = Kind(_KSERVE, "InferenceGraph", "inferencegraphs", ("ig",), ("v1alpha1",))
SERVING_RUNTIME = Kind(_KSERVE, "ServingRuntime", "servingruntimes", (), ("v1alpha1",))
CLUSTER_SERVING_RUNTIME = Kind(
    _KSERVE, "ClusterServingRuntime", "clusterservingruntimes", (), ("v1alpha1",), namespaced=False
)

# OpenShift
ROUTE = Kind("route.openshift.io", "Route", "routes")
MESH_CONTROL_PLANE = Kind(
    "maistra.io", "ServiceMeshControlPlane", "servicemeshcontrolplanes", ("smcp",), ("v2", "v1")
)
MESH_MEMBER_ROLL = Kind("maistra.io", "ServiceMeshMemberRoll", "servicemeshmemberrolls", ("smmr",))
MESH_MEMBER = Kind("maistra.io", "ServiceMeshMember", "servicemeshmembers", ("smm",))

ALL: tuple[Kind, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Kind))
