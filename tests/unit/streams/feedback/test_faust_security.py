"""Connection settings of Faust: every property that secures or times the connection is translated or refused."""

import ssl
import subprocess
from pathlib import Path
from typing import Any

import faust
import pytest

from schemas.config.connection import KAFKA_SECRETS, KafkaConfig
from schemas.errors import ConfigError
from streams.feedback.faust_security import broker_urls, credentials, group_timeouts

PASSWORD = "a good password"  # noqa: S105 - of a test


def kafka(**client: Any) -> KafkaConfig:
    """Return a config with these properties, `_` for a dot."""
    properties = {name.replace("_", "."): value for name, value in client.items()}
    return KafkaConfig(bootstrap_servers="a:9092, b:9093", client=properties)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate and its key, which a password protects."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "made.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-days", "2", "-passout", f"pass:{PASSWORD}"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-keyout", str(key), "-out", str(made), *subject],  # noqa: S607 - openssl of this machine
        check=True,
        capture_output=True,
    )
    return made, key


def test_every_bootstrap_server_becomes_a_url() -> None:
    """With Faust's scheme."""
    assert broker_urls(kafka()) == ["kafka://a:9092", "kafka://b:9093"]


@pytest.mark.parametrize("client", [{}, {"security_protocol": "PLAINTEXT"}, {"socket_timeout_ms": 10_000}])
def test_an_open_cluster_has_no_credentials(client: dict[str, Any]) -> None:
    """Properties that secure nothing are ignored."""
    assert credentials(kafka(**client), {}) is None


@pytest.mark.parametrize("name", ["sasl_mechanism", "sasl_mechanisms"])
@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_SSL", "sasl_plaintext"])
def test_names_and_passwords_are_translated(name: str, mechanism: str, protocol: str) -> None:
    """With TLS where the protocol has it, and under either name of the mechanism."""
    client = {"security_protocol": protocol, name: mechanism, "sasl_username": "loop"}
    found = credentials(kafka(**client), {"sasl.password": PASSWORD})
    assert isinstance(found, faust.SASLCredentials)
    assert (found.username, found.password, found.mechanism.value) == ("loop", PASSWORD, mechanism)
    assert (found.ssl_context is not None) is (protocol == "SASL_SSL")


def test_tls_checks_the_server_and_sends_our_certificate(certificate: tuple[Path, Path]) -> None:
    """The authority from the file, the host name, and a key that needs its password."""
    made, key = certificate
    client = {
        "security_protocol": "ssl",
        "ssl_ca_location": str(made),
        "ssl_certificate_location": str(made),
        "ssl_key_location": str(key),
    }
    found = credentials(kafka(**client), {"ssl.key.password": PASSWORD})
    assert isinstance(found, faust.SSLCredentials)
    assert found.context.check_hostname
    assert found.context.verify_mode is ssl.CERT_REQUIRED
    assert [one["subject"] for one in found.context.get_ca_certs()] == [((("commonName", "localhost"),),)]
    with pytest.raises(ConfigError) as refused:
        credentials(kafka(**client), {"ssl.key.password": "another one"})
    assert refused.value.where == "kafka.client.ssl.certificate.location"


def test_a_file_that_is_not_there_is_named() -> None:
    """By its property."""
    with pytest.raises(ConfigError) as refused:
        credentials(kafka(security_protocol="ssl", ssl_ca_location="/nowhere"), {})
    assert refused.value.where == "kafka.client.ssl.ca.location"


@pytest.mark.parametrize(
    "name",
    [
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
        "ssl.crl.location",
        "ssl.ca.pem",
        "ssl.keystore.location",
        "enable.ssl.certificate.verification",
        "sasl.kerberos.keytab",
        "sasl.oauthbearer.config",
        "enable.sasl.oauthbearer.unsecure.jwt",
        "https.ca.pem",
        "sasl.oauthbearer.assertion.algorithm",
        "security.something.new",
    ],
)
def test_a_security_property_without_a_counterpart_is_refused_by_name(name: str) -> None:
    """Dropped, it would leave a connection less secure than configured."""
    with pytest.raises(ConfigError) as refused:
        credentials(KafkaConfig(bootstrap_servers="a:1", client={name: "x"}), {})
    assert refused.value.where == f"kafka.client.{name}"


@pytest.mark.parametrize("name", sorted(KAFKA_SECRETS))
def test_every_secret_is_translated_or_refused_by_its_variable(name: str) -> None:
    """Those that Faust's client can use, and the others; no message repeats a secret."""
    secrets = {name: "whatever"}
    if name in {"sasl.password", "ssl.key.password", "sasl.oauthbearer.client.secret"}:
        assert credentials(kafka(), secrets) is None
        return
    with pytest.raises(ConfigError) as refused:
        credentials(kafka(), secrets)
    assert refused.value.where == KAFKA_SECRETS[name]
    assert "whatever" not in str(refused.value)


@pytest.mark.parametrize(
    ("client", "where"),
    [
        ({"security_protocol": "sasl_ssl"}, "sasl.mechanism"),
        ({"security_protocol": "sasl_plaintext", "sasl_mechanism": "GSSAPI"}, "sasl.mechanism"),
        ({"security_protocol": "sasl_plaintext", "sasl_mechanism": "OAUTHBEARER"}, "sasl.oauthbearer.method"),
        ({"security_protocol": "quic"}, "security.protocol"),
    ],
)
def test_protocols_and_mechanisms_that_faust_does_not_know_are_refused(client: dict[str, Any], where: str) -> None:
    """At the start, instead of a connection that hangs later."""
    with pytest.raises(ConfigError) as refused:
        credentials(kafka(**client), {})
    assert refused.value.where == f"kafka.client.{where}"
    assert "Faust" in str(refused.value)


def test_the_default_session_is_that_of_the_other_roles() -> None:
    """A dead worker loses its partitions after 45 s."""
    assert group_timeouts(kafka()) == {
        "broker_session_timeout": 45.0,
        "broker_heartbeat_interval": 3.0,
        "broker_request_timeout": 90.0,
    }


@pytest.mark.parametrize(
    ("client", "session_s", "beat_s", "request_s"),
    [
        ({"session_timeout_ms": 6_000}, 6.0, 2.0, 90.0),
        ({"session_timeout_ms": "120000"}, 120.0, 3.0, 120.0),
        ({"session_timeout_ms": 6_000, "heartbeat_interval_ms": 500}, 6.0, 0.5, 90.0),
        ({"session_timeout_ms": 6_000, "heartbeat_interval_ms": 5_000}, 6.0, 2.0, 90.0),
    ],
)
def test_the_timeouts_of_the_group_are_those_of_the_config(
    client: dict[str, Any], session_s: float, beat_s: float, request_s: float
) -> None:
    """Three heartbeats fit into a session, and a request may take as long as one."""
    found = group_timeouts(kafka(**client))
    assert found["broker_session_timeout"] == session_s
    assert found["broker_heartbeat_interval"] == beat_s
    assert found["broker_request_timeout"] == request_s
    assert group_timeouts(kafka(max_poll_interval_ms=60_000))["broker_max_poll_interval"] == 60.0


OIDC = {
    "security.protocol": "SASL_SSL",
    "sasl.mechanism": "OAUTHBEARER",
    "sasl.oauthbearer.method": "oidc",
    "sasl.oauthbearer.client.id": "loop",
    "sasl.oauthbearer.token.endpoint.url": "https://issuer/token",
    "sasl.oauthbearer.scope": "kafka",
    "sasl.oauthbearer.extensions": "logicalCluster=lkc-1, identityPoolId=pool-2",
}
OAUTH_SECRET = {"sasl.oauthbearer.client.secret": PASSWORD}


def test_oauth_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint, client, scope, extensions, and TLS of both connections."""
    seen: list[Any] = []
    monkeypatch.setattr("streams.feedback.faust_security.OAuthTokens", seen.append)
    found = credentials(KafkaConfig(bootstrap_servers="a:1", client=OIDC), OAUTH_SECRET)
    assert isinstance(found, faust.OAuthCredentials)
    assert found.ssl_context is not None
    (endpoint,) = seen
    assert (endpoint.url, endpoint.client_id, endpoint.client_secret) == ("https://issuer/token", "loop", PASSWORD)
    assert (endpoint.scope, endpoint.context is not None) == ("kafka", True)
    assert endpoint.extensions == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}
    assert PASSWORD not in repr(endpoint)


@pytest.mark.parametrize("name", ["method", "client.id", "token.endpoint.url"])
def test_oauth_without_a_property(name: str) -> None:
    """It is named; the secret by its variable."""
    client = {key: value for key, value in OIDC.items() if key != f"sasl.oauthbearer.{name}"}
    with pytest.raises(ConfigError) as refused:
        credentials(KafkaConfig(bootstrap_servers="a:1", client=client), OAUTH_SECRET)
    assert refused.value.where == f"kafka.client.sasl.oauthbearer.{name}"
    with pytest.raises(ConfigError, match="OAUTHBEARER needs it") as secret:
        credentials(KafkaConfig(bootstrap_servers="a:1", client=OIDC), {})
    assert secret.value.where == "TRUTHLOOP_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET"


def test_an_authority_of_the_endpoint_that_cannot_be_read(tmp_path: Path) -> None:
    """By the property that names its file."""
    client = OIDC | {"https.ca.location": str(tmp_path / "no.pem")}
    with pytest.raises(ConfigError) as refused:
        credentials(KafkaConfig(bootstrap_servers="a:1", client=client), OAUTH_SECRET)
    assert refused.value.where == "kafka.client.https.ca.location"
