"""A registry's answers, and those of servers that are none or do not work: what they mean for whoever waits."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.config.registry import SchemaRegistryConfig
from schemas.errors import ConfigError, RegistryAway
from streams.readers.schema_id import GlobalId
from streams.registry.catalog import SchemaVersion
from streams.registry.client import ReferencedSchema, RegisteredSchema, RegistryClient

Answer = tuple[int, str]

UNKNOWN: Answer = (404, json.dumps({"error_code": 40403, "message": "Schema not found"}))


class Server:
    """Answers by path, and notes each request's path and Authorization."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, str | None]] = []


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on the loopback."""
    with _serving() as made:
        yield made


@contextmanager
def _serving(certificate: Path | None = None) -> Iterator[Server]:
    made = Server("")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers.get("Authorization")))
            status, body = made.answers.get(self.path, UNKNOWN)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", body)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.url = f"http://127.0.0.1:{server.server_port}/api"
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        made.url = f"https://localhost:{server.server_port}/api"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client(url: str, environ: dict[str, str] | None = None, **parts: object) -> RegistryClient:
    """Return a client of a registry."""
    return RegistryClient(SchemaRegistryConfig.model_validate({"url": url, **parts}), environ or {}, Path())


def test_a_schema_by_its_id(server: Server) -> None:
    """Avro is not named by Confluent's registry."""
    server.answers = {
        "/api/schemas/ids/7": (200, json.dumps({"schema": '"long"'})),
        "/api/schemas/ids/8": (200, json.dumps({"schema": "{}", "schemaType": "JSON"})),
    }
    registry = client(f"{server.url}/")
    assert registry.schema(7) == RegisteredSchema("AVRO", '"long"')
    assert registry.schema(8) == RegisteredSchema("JSON", "{}")
    assert registry.schema(9) is None
    assert [path for path, _ in server.asked] == [f"/api/schemas/ids/{number}" for number in (7, 8, 9)]


def test_a_schema_by_its_guid(server: Server) -> None:
    """Where Confluent's serializers write a header, and nothing in front of the value."""
    guid = UUID("0198c3e0-0000-4000-8000-00000000002a")
    server.answers = {f"/api/schemas/guids/{guid}": (200, '{"schema": "x", "schemaType": "AVRO"}')}
    assert client(server.url).schema(guid) == RegisteredSchema("AVRO", "x")


def test_a_schema_by_a_global_id(server: Server) -> None:
    """By Apicurio's own API, beside its Confluent API; another registry has no such ids."""
    own = "/apis/registry/v2"
    server.answers = {
        f"{own}/ids/globalIds/7": (200, '{"type": "record"}'),
        f"{own}/ids/globalIds/7/references": (200, '[{"name": "N", "artifactId": "a", "version": "2"}]'),
        "/apis/ccompat/v7/subjects/a/versions/2": (200, '{"schema": "inner"}'),
        f"{own}/ids/globalIds/8": (404, '{"error_code": 404}'),
        f"{own}/ids/globalIds/9": (200, "x"),
        f"{own}/ids/globalIds/9/references": (200, '["a"]'),
        f"{own}/ids/globalIds/10": (200, '{"type": "object"}'),
        f"{own}/ids/globalIds/11": (200, 'syntax = "proto3";'),
        **{f"{own}/ids/globalIds/{number}/references": (200, "[]") for number in (10, 11)},
    }
    apicurio = client(f"{server.url.removesuffix('/api')}/apis/ccompat/v7")
    found = RegisteredSchema("AVRO", '{"type": "record"}', (ReferencedSchema("N", "inner"),))
    assert apicurio.schema(GlobalId(7)) == found
    assert apicurio.schema(GlobalId(8)) is None
    assert apicurio.schema(GlobalId(10)) == RegisteredSchema("JSON", '{"type": "object"}')
    assert apicurio.schema(GlobalId(11)) == RegisteredSchema("PROTOBUF", 'syntax = "proto3";')
    with pytest.raises(RegistryAway, match="a schema of another form"):
        apicurio.schema(GlobalId(9))
    with pytest.raises(RegistryAway, match="schema with the global id 7, which is an id of Apicurio's"):
        client(server.url).schema(GlobalId(7))


def test_the_names_of_a_schema(server: Server) -> None:
    """It may have several; one that is unknown has none, and neither has a subject that is gone."""
    unknown = (404, '{"error_code": 40403}')
    server.answers = {
        "/api/schemas/ids/7/versions": (200, '[{"subject": "a", "version": 2}, {"subject": "b/c", "version": 1}]'),
        "/api/schemas/ids/8/versions": unknown,
        "/api/schemas/ids/9/versions": (200, '[{"subject": "a"}]'),
        "/api/schemas/ids/10/versions": (200, '{"subject": "a", "version": 2}'),
        "/api/subjects/b%2Fc/versions/latest": (200, '{"id": 11, "version": 3}'),
        "/api/subjects/gone/versions/latest": unknown,
        "/api/subjects/odd/versions/latest": (200, "[]"),
        "/api/subjects/empty/versions/latest": (200, "{}"),
    }
    registry = client(server.url)
    assert registry.versions(7) == [SchemaVersion("a", 2, 7), SchemaVersion("b/c", 1, 7)]
    assert registry.versions(8) == []
    assert registry.newest("b/c") == SchemaVersion("b/c", 3, 11)
    assert registry.newest("gone") is None
    for ask, says in (
        (lambda: registry.versions(9), "versions of another form"),
        (lambda: registry.versions(10), "versions of another form"),
        (lambda: registry.newest("odd"), "no JSON object"),
        (lambda: registry.newest("empty"), "a version of another form"),
    ):
        with pytest.raises(RegistryAway, match=says):
            ask()


def test_references_come_before_what_names_them(server: Server) -> None:
    """Each once, although two name the same one; a circle ends."""

    def naming(text: str, *subjects: str) -> Answer:
        references = [{"name": one, "subject": one, "version": 1} for one in subjects]
        return 200, json.dumps({"schema": text, "references": references})

    server.answers = {
        "/api/schemas/ids/7": naming("outer", "b/c", "a"),
        "/api/subjects/b%2Fc/versions/1": naming("middle", "a"),
        "/api/subjects/a/versions/1": naming("inner", "a"),
    }
    assert client(server.url).schema(7) == RegisteredSchema(
        "AVRO", "outer", (ReferencedSchema("a", "inner"), ReferencedSchema("b/c", "middle"))
    )
    assert len(server.asked) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((500, "{}"), "answers HTTP 500"),
        ((503, "<html>"), "answers HTTP 503"),
        ((200, "<html>hello</html>"), "no JSON object: is it the URL of the registry's API"),
        ((200, "[]"), "no JSON object"),
        ((200, "{}"), "its answer has no schema"),
        ((200, '{"schema": 5}'), "its answer has no schema"),
        ((200, '{"schema": "x", "references": [{"name": 1}]}'), "references of another form"),
        ((200, '{"schema": "x", "references": 5}'), "references of another form"),
        (
            (200, '{"schema": "x", "references": [{"name": "n", "subject": "s", "version": 2}]}'),
            "version 2 of 's', which cannot",
        ),
        ((404, "<html>nothing here</html>"), "no JSON object"),
        ((404, '{"status": 404}'), "has nothing at this path"),
        ((401, "{}"), "refuses our credentials (HTTP 401)"),
        ((302, "http://127.0.0.1:9/elsewhere"), "answers HTTP 302"),
    ],
)
def test_an_answer_that_is_no_schema_makes_ingest_wait(server: Server, answer: Answer, message: str) -> None:
    """Nothing of it says that a record is bad. The message names the registry, not its answer's content."""
    server.answers = {"/api/schemas/ids/7": answer}
    with pytest.raises(RegistryAway) as caught:
        client(server.url).schema(7)
    assert message in caught.value.what
    assert caught.value.where == f"schema registry {server.url}"


def _closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_no_answer() -> None:
    """Nobody listens; or somebody hangs up."""
    with pytest.raises(RegistryAway, match=r"does not answer: .*refused"):
        client(f"http://127.0.0.1:{_closed_port()}").schema(1)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def hang_up() -> None:
            connection, _ = listening.accept()
            connection.recv(1_000)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(RegistryAway, match="does not answer"):
            client(f"http://127.0.0.1:{listening.getsockname()[1]}").schema(1)
        thread.join()


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "503 Service Unavailable"])
def test_an_answer_that_breaks_off(status: str) -> None:
    """Whatever it was going to be."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def break_off() -> None:
            connection, _ = listening.accept()
            connection.recv(1_000)
            connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 1000\r\n\r\n{{".encode())
            connection.close()

        thread = threading.Thread(target=break_off)
        thread.start()
        with pytest.raises(RegistryAway):
            client(f"http://127.0.0.1:{listening.getsockname()[1]}").schema(1)
        thread.join()


def test_a_token_may_have_any_letters(server: Server) -> None:
    """It is sent as UTF-8."""
    client(server.url, {"REGISTRY_TOKEN": "t\u20ac"}, token_env="REGISTRY_TOKEN").schema(1)  # noqa: S106 - a name
    ((_, sent),) = server.asked
    assert (sent or "").encode("latin-1").decode() == "Bearer t\u20ac"


def test_credentials(server: Server, tmp_path: Path) -> None:
    """Basic, or a bearer token, from the environment or a file; a refusal names the variable to check."""
    (tmp_path / "token").write_text("t-1\n")
    client(server.url, {"TRUTHLOOP_SCHEMA_REGISTRY_PASSWORD": "pass"}, user="me").schema(1)
    client(server.url, {"REGISTRY_TOKEN_FILE": str(tmp_path / "token")}, token_env="REGISTRY_TOKEN").schema(1)  # noqa: S106 - a name
    assert [sent for _, sent in server.asked] == ["Basic bWU6cGFzcw==", "Bearer t-1"]
    server.answers = {"/api/schemas/ids/1": (403, "")}
    refused = client(server.url, {"TRUTHLOOP_SCHEMA_REGISTRY_PASSWORD": "pass"}, user="me")
    with pytest.raises(RegistryAway, match="Check TRUTHLOOP_SCHEMA_REGISTRY_PASSWORD") as caught:
        refused.schema(1)
    assert "pass" not in str(caught.value).replace("PASSWORD", "")
    with pytest.raises(RegistryAway, match="Give `user` or `token_env`"):
        client(server.url).schema(1)


def test_a_redirect_is_not_followed(server: Server) -> None:
    """The credentials would go to whoever it names."""
    with _serving() as other:
        server.answers = {"/api/schemas/ids/1": (307, f"{other.url}/schemas/ids/1")}
        with pytest.raises(RegistryAway, match="answers HTTP 307"):
            client(server.url, {"TRUTHLOOP_SCHEMA_REGISTRY_PASSWORD": "pass"}, user="me").schema(1)
        assert other.asked == []


def _missing_secret() -> None:
    client("http://localhost", user="me")


def _missing_authorities() -> None:
    client("https://localhost", ca_file="/nowhere/ca.pem")


def _missing_certificate() -> None:
    client("https://localhost", certificate_file="/nowhere/own.pem")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing_secret, "environment variable TRUTHLOOP_SCHEMA_REGISTRY_PASSWORD: holds no password or token"),
        (_missing_authorities, "schema_registry.ca_file: cannot be used"),
        (_missing_certificate, "schema_registry.certificate_file: cannot be used"),
    ],
)
def test_what_is_missing_is_said_at_the_start(make: Callable[[], None], message: str) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=message):
        make()


def _self_signed(folder: Path) -> Path:
    """Return a PEM file with a certificate of localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = folder / "own.pem"
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_a_certificate_that_nobody_we_trust_has_signed(tmp_path: Path) -> None:
    """Only whoever has it as `ca_file` believes it."""
    certificate = _self_signed(tmp_path)
    with _serving(certificate) as server:
        with pytest.raises(RegistryAway, match=r"does not answer: .*CERTIFICATE_VERIFY_FAILED"):
            client(server.url).schema(1)
        assert client(server.url, ca_file=str(certificate)).schema(1) is None
