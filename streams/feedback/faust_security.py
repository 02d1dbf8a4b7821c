"""Translates librdkafka's properties into the connection settings of Faust's client.

A property that secures the connection is translated or refused by name, never dropped.
"""

import ssl
from collections.abc import Mapping
from typing import Final

import faust

from schemas.config.connection import KAFKA_SECRETS, KafkaConfig
from schemas.config.mapping import Scalar
from schemas.errors import ConfigError
from streams.feedback.oauth_tokens import OAuthTokens, TokenEndpoint
from streams.kafka.client import tied_limits

__all__ = ["broker_urls", "credentials", "group_timeouts"]

_OAUTH: Final = "sasl.oauthbearer."
_UNDERSTOOD = frozenset(
    {
        *("security.protocol", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password"),
        *("sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password", "https.ca.location"),
        *(f"{_OAUTH}{name}" for name in ("method", "client.id", "client.secret", "token.endpoint.url")),
        *(f"{_OAUTH}{name}" for name in ("scope", "extensions")),
    }
)
_SECURES = ("ssl.", "sasl.", "security.", "enable.ssl.", "enable.sasl.", "https.")
_MECHANISMS = frozenset({"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"})
_PROTOCOLS = frozenset({"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"})
_HEARTBEATS = 3
"""Least number of heartbeats in a session: with fewer, a lost one would end it."""
_HEARTBEAT_MOST_S, _REQUEST_LEAST_S = 3.0, 90.0
"""Faust's defaults."""


def broker_urls(config: KafkaConfig) -> list[str]:
    """Return the bootstrap servers as URLs for Faust."""
    return [f"kafka://{address.strip()}" for address in config.bootstrap_servers.split(",") if address.strip()]


def group_timeouts(config: KafkaConfig) -> dict[str, float]:
    """Return Faust's timeouts of group membership, in seconds.

    They come from `session.timeout.ms`, `heartbeat.interval.ms` and `max.poll.interval.ms`; the default session is that
    of the other roles.
    """
    client = config.client
    session_s = float(client.get("session.timeout.ms", tied_limits(client)["session.timeout.ms"])) / 1_000
    beat_ms = client.get("heartbeat.interval.ms")
    beat_s = min(session_s / _HEARTBEATS, _HEARTBEAT_MOST_S if beat_ms is None else float(beat_ms) / 1_000)
    found = {
        "broker_session_timeout": session_s,
        "broker_heartbeat_interval": beat_s,
        "broker_request_timeout": max(session_s, _REQUEST_LEAST_S),
    }
    if (poll_ms := client.get("max.poll.interval.ms")) is not None:
        found["broker_max_poll_interval"] = float(poll_ms) / 1_000
    return found


def credentials(
    config: KafkaConfig, secrets: Mapping[str, str]
) -> faust.SASLCredentials | faust.SSLCredentials | faust.OAuthCredentials | None:
    """Return Faust's credentials; None for a cluster without TLS and SASL.

    Args:
        config: the loop's `kafka` section.
        secrets: librdkafka's secret properties, see `kafka_secrets`.

    Raises:
        ConfigError: a property that secures the connection has no counterpart in Faust's client.
    """
    client: dict[str, Scalar] = {**config.client, **secrets}
    for name in client:
        if name.startswith(_SECURES) and name not in _UNDERSTOOD:
            raise _refused(name, "has no counterpart in Faust's client")
    protocol = str(client.get("security.protocol", "plaintext")).lower()
    if protocol not in _PROTOCOLS:
        raise _refused("security.protocol", f"is {protocol!r}, which Faust's client does not know")
    context = _context(client) if protocol.endswith("ssl") else None
    if not protocol.startswith("sasl"):
        return None if context is None else faust.SSLCredentials(context)
    mechanism = str(client.get("sasl.mechanism", client.get("sasl.mechanisms", "")))
    if mechanism == "OAUTHBEARER":
        return faust.OAuthCredentials(oauth_cb=OAuthTokens(_token_endpoint(client)), ssl_context=context)
    if mechanism not in _MECHANISMS:
        raise _refused(
            "sasl.mechanism",
            f"is {mechanism!r}, and Faust's client knows {', '.join(sorted(_MECHANISMS))} and OAUTHBEARER",
        )
    return faust.SASLCredentials(
        username=str(client.get("sasl.username", "")),
        password=str(client.get("sasl.password", "")),
        ssl_context=context,
        mechanism=mechanism,
    )


def _token_endpoint(client: Mapping[str, Scalar]) -> TokenEndpoint:
    """Return where tokens come from.

    Raises:
        ConfigError: a property is missing, or tokens come otherwise than by OIDC.
    """
    if str(client.get(f"{_OAUTH}method", "")).lower() != "oidc":
        raise _refused(f"{_OAUTH}method", "must be oidc: tokens are asked of an endpoint")
    for name in ("token.endpoint.url", "client.id", "client.secret"):
        if not client.get(_OAUTH + name):
            raise _refused(_OAUTH + name, "is missing, and OAUTHBEARER needs it")
    pairs = [one.partition("=") for one in str(client.get(f"{_OAUTH}extensions", "")).split(",") if one]
    url = str(client[f"{_OAUTH}token.endpoint.url"])
    return TokenEndpoint(
        url,
        str(client[f"{_OAUTH}client.id"]),
        str(client[f"{_OAUTH}client.secret"]),
        str(client.get(f"{_OAUTH}scope", "")),
        {name.strip(): value.strip() for name, _, value in pairs},
        _trusting(client, "https.ca.location") if url.startswith("https:") else None,
    )


def _trusting(client: Mapping[str, Scalar], name: str) -> ssl.SSLContext:
    """Return a context that trusts the authorities in the file that a property names."""
    authority = client.get(name)
    try:
        return ssl.create_default_context(cafile=None if authority is None else str(authority))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot be used: {error}", where=f"kafka.client.{name}") from None


def _context(client: Mapping[str, Scalar]) -> ssl.SSLContext:
    context = _trusting(client, "ssl.ca.location")
    try:
        if (certificate := client.get("ssl.certificate.location")) is not None:
            key, password = client.get("ssl.key.location"), client.get("ssl.key.password")
            context.load_cert_chain(
                str(certificate), None if key is None else str(key), None if password is None else str(password)
            )
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot be used: {error}", where="kafka.client.ssl.certificate.location") from None
    return context


def _refused(name: str, why: str) -> ConfigError:
    variable = KAFKA_SECRETS.get(name)
    return ConfigError(
        why,
        where=variable or f"kafka.client.{name}",
        hint="`truthloop run feedback` connects to Kafka through Faust; the other roles are not affected.",
    )
