"""From kubectl's options, kubeconfigs and service accounts to a connection, and what goes wrong there."""

from __future__ import annotations

import base64
import ipaddress
import json
import ssl
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from kgdiag.collect.cluster import Cluster, connect
from kgdiag.collect.connection import ConnectionOptions, open_connection, parse_timeout
from kgdiag.errors import ConnectionFailed, InputError, KgdiagError, UsageError
from kgdiag.model.kinds import POD
from kgdiag.model.read import Need, Status
from tests.collect.apiserver import Answer, ApiServer, Request, status

DEFAULT = ConnectionOptions(request_timeout=5)


@pytest.fixture(autouse=True)
def no_cluster_of_the_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "POD_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def server() -> Any:
    with ApiServer(kinds=[POD]) as running:
        yield running


def reach(kubeconfig: str, **options: Any) -> Cluster:
    """A cluster that has answered."""
    cluster = connect(replace(DEFAULT, kubeconfig=kubeconfig, **options))
    cluster.catalogue()
    return cluster


def refused(kubeconfig: str, **options: Any) -> KgdiagError:
    with pytest.raises(KgdiagError) as caught:
        reach(kubeconfig, **options)
    assert caught.value.message
    return caught.value


# --- --request-timeout ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("1m", 60),
        ("1m30s", 90),
        ("1.5s", 1.5),
        ("500ms", 0.5),
        ("2h", 7200),
        ("7", 7),
        (".5s", 0.5),
    ],
)
def test_timeouts_as_kubectl_reads_them(text: str, seconds: float) -> None:
    assert parse_timeout(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["0", "0s", "00"])
def test_zero_is_no_limit(text: str) -> None:
    assert parse_timeout(text) is None


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1s2", "one", "1 s", "٣s", "1.2.3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no duration"):
        parse_timeout(text)


# --- which kubeconfig, which context ----------------------------------------------------------------------


def test_the_option_wins_over_the_environment(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nonexistent")
    cluster = reach(server.kubeconfig(tmp_path, context={"namespace": "models"}))
    assert (cluster.context, cluster.default_namespace, cluster.server_version) == (
        "test",
        "models",
        "v1.34.4",
    )


def test_the_namespace_is_default_where_the_context_has_none(server: ApiServer, tmp_path: Path) -> None:
    assert reach(server.kubeconfig(tmp_path)).default_namespace == "default"


def test_the_home_directory_is_the_last_resort(server: ApiServer, tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".kube"
    folder.mkdir(parents=True)
    server.kubeconfig(folder)
    assert reach("").context == "test"


def test_several_files_are_merged_and_the_first_word_counts(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = {
        "current-context": "mine",
        "contexts": [{"name": "mine", "context": {"cluster": "here", "user": "me", "namespace": "first"}}],
        "users": [{"name": "me", "user": {"token": "first-token"}}],
    }
    (tmp_path / "first").write_text(yaml.safe_dump(first))
    (tmp_path / "empty").write_text("")
    second = server.kubeconfig(tmp_path, name="second")
    files = [str(tmp_path / "first"), "/nonexistent/config", str(tmp_path / "empty"), second]
    monkeypatch.setenv("KUBECONFIG", ":".join(files))
    cluster = reach("")
    assert (cluster.context, cluster.default_namespace) == ("mine", "first")
    assert server.requests[0].header("authorization") == "Bearer first-token"
    assert reach("", context="test").default_namespace == "default"


def test_files_beside_the_kubeconfig_are_found(server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file")
    reach(server.kubeconfig(tmp_path, user={"tokenFile": "token"}))
    assert server.requests[0].header("authorization") == "Bearer from-a-file"


def test_a_context_that_is_not_there_names_those_that_are(server: ApiServer, tmp_path: Path) -> None:
    error = refused(server.kubeconfig(tmp_path), context="tset")
    assert isinstance(error, UsageError)
    assert error.subject == "--context tset"
    assert "did you mean test?" in error.hint
    assert server.requests == []


def test_no_kubeconfig_at_all() -> None:
    error = refused("")
    assert isinstance(error, UsageError)
    assert ".kube/config does not exist" in error.message


def test_a_named_kubeconfig_that_is_missing() -> None:
    error = refused("/nonexistent/config")
    assert (type(error), error.exit_code) == (UsageError, 2)
    assert "--kubeconfig /nonexistent/config: no such file" in str(error)


CONTEXT = {"name": "a", "context": {"cluster": "c", "user": "u"}}
CLUSTER = {"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}
USER = {"name": "u", "user": {"token": "t"}}


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("a: [1\nb: 2\n", "not YAML"),
        ("just words", "not a kubeconfig"),
        ("[1, 2]", "not a kubeconfig"),
        ("\x00\x01", "cannot be read"),
        ("contexts: 7", "not a kubeconfig"),
        ("contexts: [7]", "not a kubeconfig"),
        ("kind: Config", "no current-context"),
        (yaml.safe_dump({"current-context": "gone", "contexts": [CONTEXT]}), "no such context"),
        (yaml.safe_dump({"current-context": "a", "contexts": [CONTEXT]}), "no cluster is named 'c'"),
        (
            yaml.safe_dump({"current-context": "a", "contexts": [CONTEXT], "clusters": [CLUSTER]}),
            "no user is named 'u'",
        ),
        (
            yaml.safe_dump(
                {
                    "current-context": "a",
                    "contexts": [CONTEXT],
                    "clusters": [{"name": "c", "cluster": {"proxy-url": ""}}],
                    "users": [USER],
                }
            ),
            "cluster c has no server",
        ),
        (
            yaml.safe_dump(
                {
                    "current-context": "a",
                    "contexts": [CONTEXT],
                    "clusters": [
                        {"name": "c", "cluster": {"server": "https://x", "certificate-authority-data": "abc"}}
                    ],
                    "users": [USER],
                }
            ),
            "not usable",
        ),
        (
            yaml.safe_dump(
                {
                    "current-context": "a",
                    "contexts": [CONTEXT],
                    "clusters": [{"name": "c", "cluster": {"server": "https://x"}}],
                    "users": [{"name": "u", "user": {"client-certificate": "/nonexistent.crt"}}],
                }
            ),
            "/nonexistent.crt",
        ),
    ],
)
def test_a_kubeconfig_that_is_none(tmp_path: Path, document: str, words: str) -> None:
    path = tmp_path / "config"
    path.write_text(document)
    error = refused(str(path))
    assert error.exit_code == 2
    assert words in error.message
    assert str(path) in str(error)


def test_a_kubeconfig_that_is_binary_or_a_folder(tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"\xff\xfe\x00")
    assert isinstance(refused(str(tmp_path / "config")), InputError)
    assert isinstance(refused(str(tmp_path)), InputError)


# --- credentials ------------------------------------------------------------------------------------------


def test_basic_authentication(server: ApiServer, tmp_path: Path) -> None:
    reach(server.kubeconfig(tmp_path, user={"username": "u", "password": "p"}))
    assert server.requests[0].header("authorization") == "Basic " + base64.b64encode(b"u:p").decode()


def plugin(tmp_path: Path, body: str, **more: Any) -> dict[str, Any]:
    """An exec plugin that is a Python program."""
    (tmp_path / "plugin.py").write_text(body)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(tmp_path / "plugin.py")],
            "interactiveMode": "Never",
            **more,
        }
    }


def credential(**fields: str) -> str:
    document = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": fields}
    return f"print({json.dumps(json.dumps(document))})"


def test_an_exec_plugin_gives_the_token_and_nothing_is_written(server: ApiServer, tmp_path: Path) -> None:
    path = server.kubeconfig(tmp_path, user=plugin(tmp_path, credential(token="fresh")))
    before = Path(path).read_text()
    reach(path)
    assert server.requests[0].header("authorization") == "Bearer fresh"
    assert Path(path).read_text() == before


def test_an_exec_plugin_gets_its_environment(server: ApiServer, tmp_path: Path) -> None:
    body = credential(token="TOKEN").replace("print(", "import os\nprint(", 1)
    body = body[:-1] + ".replace('TOKEN', os.environ['WHO']))"
    reach(server.kubeconfig(tmp_path, user=plugin(tmp_path, body, env=[{"name": "WHO", "value": "alice"}])))
    assert server.requests[0].header("authorization") == "Bearer alice"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import sys; sys.exit('not logged in: run login')", "not logged in: run login"),
        ("print('hello')", "failed"),
        ("print('[]')", "failed"),
        (credential(), "neither a token nor a certificate"),
        (credential(clientCertificateData="x"), "certificate without its key"),
    ],
)
def test_an_exec_plugin_that_fails(server: ApiServer, tmp_path: Path, body: str, words: str) -> None:
    error = refused(server.kubeconfig(tmp_path, user=plugin(tmp_path, body)))
    assert (type(error), error.exit_code) == (ConnectionFailed, 3)
    assert words in error.message
    assert "of user me" in error.subject
    assert server.requests == []


def test_an_exec_plugin_that_is_not_installed(server: ApiServer, tmp_path: Path) -> None:
    user = plugin(tmp_path, "", command="no-such-login-tool", installHint="Get it from your admin.")
    error = refused(server.kubeconfig(tmp_path, user=user))
    assert isinstance(error, ConnectionFailed)
    assert "no-such-login-tool" in error.subject
    assert error.hint == "Get it from your admin."


def jwt(expires: datetime) -> str:
    parts = [{"alg": "none"}, {"exp": int(expires.timestamp())}]
    texts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*texts, "c2ln"])


def oidc(token: str, issuer: str = "http://127.0.0.1:1") -> dict[str, Any]:
    config = {
        "client-id": "c",
        "client-secret": "s",
        "id-token": token,
        "refresh-token": "r",
        "idp-issuer-url": issuer,
    }
    return {"auth-provider": {"name": "oidc", "config": config}}


def test_an_oidc_token_that_is_good_is_used(server: ApiServer, tmp_path: Path) -> None:
    token = jwt(datetime.now(UTC) + timedelta(hours=1))
    reach(server.kubeconfig(tmp_path, user=oidc(token)))
    assert server.requests[0].header("authorization") == f"Bearer {token}"


def test_an_oidc_token_that_cannot_be_renewed_ends_the_run(server: ApiServer, tmp_path: Path) -> None:
    token = jwt(datetime.now(UTC) - timedelta(hours=1))
    error = refused(server.kubeconfig(tmp_path, user=oidc(token)))
    assert isinstance(error, ConnectionFailed)
    assert "login of user me could not be renewed" in error.message


def test_an_issuer_that_is_silent_does_not_hang_the_run(server: ApiServer, tmp_path: Path) -> None:
    with ApiServer() as issuer:
        issuer.faults.append(issuer.silent)
        token = jwt(datetime.now(UTC) - timedelta(hours=1))
        error = refused(server.kubeconfig(tmp_path, user=oidc(token, issuer.url)), request_timeout=0.3)
    assert isinstance(error, ConnectionFailed)


def test_an_auth_provider_of_the_past_is_named(server: ApiServer, tmp_path: Path) -> None:
    error = refused(server.kubeconfig(tmp_path, user={"auth-provider": {"name": "azure", "config": {}}}))
    assert "auth-provider azure" in error.message


# --- impersonation ----------------------------------------------------------------------------------------


def test_impersonation_is_sent_with_every_request(server: ApiServer, tmp_path: Path) -> None:
    cluster = reach(server.kubeconfig(tmp_path), as_user="jané", as_groups=("dev", "ops"))
    cluster.read([Need(POD, "a")])
    assert len(server.requests) == 2
    for request in server.requests:
        assert request.header("impersonate-user").encode("latin-1").decode() == "jané"
        assert request.headers["impersonate-group"] == ["dev", "ops"]


def test_impersonation_of_the_kubeconfig(server: ApiServer, tmp_path: Path) -> None:
    user = {"token": "t", "as": "bob", "as-groups": ["g"], "as-user-extra": {"a/b": ["1", "2"]}}
    reach(server.kubeconfig(tmp_path, user=user))
    request = server.requests[0]
    assert (request.header("impersonate-user"), request.headers["impersonate-group"]) == ("bob", ["g"])
    assert request.headers["impersonate-extra-a%2fb"] == ["1", "2"]


@pytest.mark.parametrize(("user", "groups"), [("", ("g",)), ("a\r\nX: y", ()), ("a", ("\x1b",))])
def test_impersonation_that_cannot_be(server: ApiServer, tmp_path: Path, user: str, groups: Any) -> None:
    error = refused(server.kubeconfig(tmp_path), as_user=user, as_groups=groups)
    assert isinstance(error, UsageError)
    assert server.requests == []


# --- a pod's service account ------------------------------------------------------------------------------


def test_in_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = Certificates(tmp_path)
    for name, text in {"token": "pod-token", "namespace": "kgdiag", "ca.crt": tls.ca_pem}.items():
        (tmp_path / name).write_text(text)
    with ApiServer(tls=tls.server()) as server:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
        cluster = reach("", service_account=tmp_path)
        assert (cluster.context, cluster.default_namespace) == ("", "kgdiag")
        assert server.requests[0].header("authorization") == "bearer pod-token"
        error = refused("", service_account=tmp_path, context="prod")
        assert isinstance(error, UsageError)


def test_in_cluster_without_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "1")
    error = refused("", service_account=tmp_path)
    assert isinstance(error, InputError)
    assert "token" in error.message


# --- TLS --------------------------------------------------------------------------------------------------


class Certificates:
    """A certificate authority with one server and one client."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca_key, self.ca = self._issue("ca", None)
        self.ca_pem = self.ca.public_bytes(Encoding.PEM).decode()
        self.ca_data = base64.b64encode(self.ca_pem.encode()).decode()

    def _issue(self, name: str, *sans: Any) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        root = sans == (None,)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if root else self.ca.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=root, path_length=None), critical=True)
        )
        if root:
            identity = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
            usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
            builder = builder.add_extension(identity, False).add_extension(usage, True)
        else:
            authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key())
            builder = builder.add_extension(authority, False)
            builder = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        return key, builder.sign(key if root else self.ca_key, hashes.SHA256())

    def files(self, name: str, *sans: Any) -> tuple[Path, Path]:
        key, certificate = self._issue(name, *sans)
        pair = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        pair[0].write_bytes(certificate.public_bytes(Encoding.PEM))
        pair[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return pair

    def server(self, *, name: str = "", clients: bool = False) -> ssl.SSLContext:
        """For 127.0.0.1, or for a name alone; ``clients`` must have a certificate."""
        san = x509.DNSName(name) if name else x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.files("server", san))
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self.ca_pem)
        return context


@pytest.fixture
def tls(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def attempt(
    tls: Certificates, context: ssl.SSLContext, cluster: Mapping[str, Any], user: Any = None
) -> list[Request]:
    """The requests that arrive at a TLS server."""
    with ApiServer(tls=context) as server:
        reach(server.kubeconfig(tls.folder, cluster=cluster, user=user))
        return server.requests


def test_tls_with_the_authority_of_the_kubeconfig(tls: Certificates) -> None:
    assert attempt(tls, tls.server(), {"certificate-authority-data": tls.ca_data})
    (tls.folder / "ca.pem").write_text(tls.ca_pem)
    assert attempt(tls, tls.server(), {"certificate-authority": "ca.pem"})


def test_tls_with_a_name_of_its_own(tls: Certificates) -> None:
    cluster = {"certificate-authority-data": tls.ca_data, "tls-server-name": "api.example"}
    assert attempt(tls, tls.server(name="api.example"), cluster)


def test_tls_without_verification_says_nothing(tls: Certificates, recwarn: pytest.WarningsRecorder) -> None:
    assert attempt(tls, tls.server(), {"insecure-skip-tls-verify": True})
    assert not [one for one in recwarn if "InsecureRequest" in one.category.__name__]


def test_tls_with_a_client_certificate(tls: Certificates) -> None:
    certificate, key = tls.files("client", x509.DNSName("client"))
    user = {"client-certificate": certificate.name, "client-key": key.name}
    cluster = {"certificate-authority-data": tls.ca_data}
    assert attempt(tls, tls.server(clients=True), cluster, user)
    inline = {
        "client-certificate-data": base64.b64encode(certificate.read_bytes()).decode(),
        "client-key-data": base64.b64encode(key.read_bytes()).decode(),
    }
    assert attempt(tls, tls.server(clients=True), cluster, inline)


def test_tls_with_a_client_certificate_of_an_exec_plugin(tls: Certificates) -> None:
    certificate, key = tls.files("client", x509.DNSName("client"))
    body = credential(clientCertificateData=certificate.read_text(), clientKeyData=key.read_text())
    cluster = {"certificate-authority-data": tls.ca_data}
    assert attempt(tls, tls.server(clients=True), cluster, plugin(tls.folder, body))


@pytest.mark.parametrize(
    ("cluster", "words"),
    [
        ({}, "certificate verify failed"),
        ({"certificate-authority-data": "other"}, "certificate verify failed"),
        ({"certificate-authority-data": "own", "tls-server-name": "other.example"}, "other.example"),
    ],
)
def test_tls_that_fails(tls: Certificates, cluster: dict[str, Any], words: str) -> None:
    other = tls.folder / "other"
    other.mkdir()
    data = {"own": tls.ca_data, "other": Certificates(other).ca_data}
    key = "certificate-authority-data"
    cluster = {**cluster, **({key: data[cluster[key]]} if key in cluster else {})}
    with ApiServer(tls=tls.server()) as server:
        error = refused(server.kubeconfig(tls.folder, cluster=cluster))
    assert isinstance(error, ConnectionFailed)
    assert error.message.startswith("TLS failed")
    assert words in error.message
    assert server.requests == []


def test_tls_where_a_client_certificate_is_missing(tls: Certificates) -> None:
    with ApiServer(tls=tls.server(clients=True)) as server:
        error = refused(server.kubeconfig(tls.folder, cluster={"certificate-authority-data": tls.ca_data}))
    assert isinstance(error, ConnectionFailed)


def test_tls_with_a_certificate_that_is_none(tls: Certificates) -> None:
    junk = base64.b64encode(b"junk").decode()
    user = {"client-certificate-data": junk, "client-key-data": junk}
    with ApiServer(tls=tls.server()) as server:
        path = server.kubeconfig(tls.folder, cluster={"certificate-authority-data": tls.ca_data}, user=user)
        assert isinstance(refused(path), ConnectionFailed)


# --- proxies ----------------------------------------------------------------------------------------------


def test_a_proxy_is_used(server: ApiServer, tmp_path: Path) -> None:
    with ApiServer(kinds=[POD]) as proxy:
        reach(server.kubeconfig(tmp_path, cluster={"server": "http://api.example", "proxy-url": proxy.url}))
        assert proxy.requests[0].header("host") == "api.example"
        assert proxy.requests[0].header("authorization") == "Bearer secret-token"


def test_a_proxy_that_refuses(server: ApiServer, tmp_path: Path) -> None:
    cluster = {"server": "https://api.example", "proxy-url": server.url}  # it knows no CONNECT
    error = refused(server.kubeconfig(tmp_path, cluster=cluster))
    assert isinstance(error, ConnectionFailed)
    assert "proxy" in error.message


# --- the server as a whole --------------------------------------------------------------------------------


def test_credentials_that_are_not_accepted(server: ApiServer, tmp_path: Path) -> None:
    server.faults.append(lambda _: status(401, "Unauthorized", "Unauthorized"))
    error = refused(server.kubeconfig(tmp_path))
    assert (type(error), error.exit_code) == (ConnectionFailed, 3)
    assert "credentials of me" in error.message
    assert "log in again" in error.hint


def test_nobody_is_there(tmp_path: Path) -> None:
    with ApiServer() as gone:
        path = gone.kubeconfig(tmp_path)
    error = refused(path)
    assert isinstance(error, ConnectionFailed)
    assert "not reachable" in error.message
    assert error.subject == gone.url


def test_a_host_that_cannot_be(server: ApiServer, tmp_path: Path) -> None:
    error = refused(server.kubeconfig(tmp_path, cluster={"server": "http://a..b:6443"}))
    assert isinstance(error, ConnectionFailed)


def test_a_server_that_is_silent(server: ApiServer, tmp_path: Path) -> None:
    server.faults.append(server.silent)
    error = refused(server.kubeconfig(tmp_path), request_timeout=0.3)
    assert isinstance(error, ConnectionFailed)
    assert "within 0.3s" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>", {"Content-Type": "text/html"}),
        Answer(200, b'{"kind": "Pod"}'),
        Answer(302, b"", {"Location": "http://sso.example"}),
        Answer(404, b"not found"),
        Answer(400, b"Client sent an HTTP request to an HTTPS server.\n"),
    ],
)
def test_a_server_that_is_no_api_server(server: ApiServer, tmp_path: Path, answer: Answer) -> None:
    server.faults.append(lambda _: answer)
    assert isinstance(refused(server.kubeconfig(tmp_path)), ConnectionFailed)


def test_a_read_tells_of_the_server_too(server: ApiServer, tmp_path: Path) -> None:
    server.faults.append(lambda _: status(401, "Unauthorized"))
    cluster = connect(replace(DEFAULT, kubeconfig=server.kubeconfig(tmp_path)))
    with pytest.raises(ConnectionFailed, match="credentials"):
        cluster.read([Need(POD, "a")])


def test_rights_to_no_more_than_a_namespace_are_enough(server: ApiServer, tmp_path: Path) -> None:
    def guard(request: Request) -> Answer | None:
        return None if "/namespaces/mine/" in request.path else status(403, "forbidden: me")

    server.faults.append(guard)
    cluster = connect(replace(DEFAULT, kubeconfig=server.kubeconfig(tmp_path)))
    mine, all_of_them = cluster.read([Need(POD, "mine"), Need(POD)])
    assert mine.status is Status.OK
    assert (all_of_them.status, all_of_them.message) == (Status.FORBIDDEN, "forbidden: me")


# --- what is loaded ---------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_it_is_needed() -> None:
    program = (
        "import sys, kgdiag.collect.connection, kgdiag.collect.clean, kgdiag.collect.secrets\n"
        "loaded = [m for m in ('kubernetes', 'urllib3', 'tenacity', 'cryptography') if m in sys.modules]\n"
        "import kgdiag.collect.cluster\n"
        "loaded += [m for m in ('kubernetes', 'cryptography') if m in sys.modules]\n"
        "print(loaded)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_opening_a_connection_sends_nothing(server: ApiServer, tmp_path: Path) -> None:
    connection = open_connection(replace(DEFAULT, kubeconfig=server.kubeconfig(tmp_path)))
    assert (connection.server, connection.user) == (server.url, "me")
    assert server.requests == []
