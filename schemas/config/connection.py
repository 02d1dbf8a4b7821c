"""Config of a loop's connections: Kafka cluster, folder of the join's state, HTTP server.

Secrets are not in the config: they come from environment variables, or from files that these name.
"""

from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.base.model import StrictModel
from schemas.base.validators import local_folder
from schemas.config.mapping import Scalar

__all__ = ["HTTP_TOKEN_VARIABLE", "KAFKA_SECRETS", "HttpConfig", "KafkaConfig", "StateConfig"]

KAFKA_SECRETS = {
    "sasl.password": "TRUTHLOOP_KAFKA_SASL_PASSWORD",
    "sasl.oauthbearer.client.secret": "TRUTHLOOP_KAFKA_SASL_OAUTHBEARER_CLIENT_SECRET",
    "ssl.key.password": "TRUTHLOOP_KAFKA_SSL_KEY_PASSWORD",
    "ssl.keystore.password": "TRUTHLOOP_KAFKA_SSL_KEYSTORE_PASSWORD",
    "ssl.key.pem": "TRUTHLOOP_KAFKA_SSL_KEY_PEM",
}
"""librdkafka property -> environment variable with its value; with the suffix `_FILE`, with the name of a file."""

HTTP_TOKEN_VARIABLE = "TRUTHLOOP_HTTP_TOKEN"  # noqa: S105 - the name of the variable, not the token
"""Environment variable with the token of the page; with the suffix `_FILE`, with the name of a file that holds it."""

_OURS = {
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "partitioner",
    "transactional.id",
}
"""Properties that exactly-once depends on; only Truthloop sets them."""


def _check_client(client: dict[str, Scalar]) -> dict[str, Scalar]:
    for name in client:
        if (variable := KAFKA_SECRETS.get(name)) is not None:
            raise ValueError(f"{name!r} is a secret: give it as {variable}, or its file as {variable}_FILE")
        if name == "bootstrap.servers":
            raise ValueError("'bootstrap.servers' has its own field: kafka.bootstrap_servers")
        if name in _OURS or name.startswith("test.mock."):
            raise ValueError(f"{name!r} is set by Truthloop: exactly-once depends on it")
    return client


class KafkaConfig(StrictModel):
    """Kafka cluster with predictions and labels."""

    bootstrap_servers: str = Field(
        min_length=1, max_length=2_000, description="host:port of one broker or several, with commas between."
    )
    client: Annotated[dict[str, Scalar], AfterValidator(_check_client)] = Field(
        default_factory=dict,
        description="Further properties of librdkafka, such as security.protocol or ssl.ca.location.",
    )


class StateConfig(StrictModel):
    """Where the join stores its state: a cache that can be rebuilt from the lake."""

    dir: Annotated[str, AfterValidator(local_folder)] = Field(
        default="./state",
        min_length=1,
        description="Folder of the join's databases; a relative path starts at the config's own folder.",
    )


class HttpConfig(StrictModel):
    """HTTP server of the page, and of every process: /livez, /readyz, /metrics."""

    bind: str = Field(default="127.0.0.1", min_length=1, max_length=255, description="Address to listen on.")
    port: int = Field(
        default=8080,
        ge=1,
        le=65_500,
        description="Port of the page; ingest listens on the next port, join and lake on those after it.",
    )
    hosts: list[Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9.-]+$")]] = Field(
        default_factory=list,
        description="Host names that the page may be requested by, in addition to localhost and addresses.",
    )
    user_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header in which a proxy names the user it has authenticated, for instance X-Forwarded-User; the "
        "audit log then says so. Needs a token of the page that only the proxy has, and a proxy that removes the "
        "header from readers' requests. Left out: who approves a backfill types a name, which is not verified.",
    )
