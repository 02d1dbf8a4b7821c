"""Where a loop's processes meet the world: the Kafka cluster, their state's folder, their HTTP port.

Secrets have no place here: they come from the environment or from files that it names.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

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
"""librdkafka property -> variable that holds it; with `_FILE` behind, variable that names a file with it."""

HTTP_TOKEN_VARIABLE = "TRUTHLOOP_HTTP_TOKEN"  # noqa: S105 - the name of the variable, not the token
"""Holds what a reader of the page has to know; with `_FILE` behind, names a file with it."""

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
"""What exactly-once stands on: these are set by Truthloop and by nobody else."""


def _no_secret_and_not_ours(client: dict[str, Scalar]) -> dict[str, Scalar]:
    for name in client:
        if (variable := KAFKA_SECRETS.get(name)) is not None:
            raise ValueError(f"{name!r} is a secret: give it as {variable}, or its file as {variable}_FILE")
        if name == "bootstrap.servers":
            raise ValueError("'bootstrap.servers' has a place of its own: kafka.bootstrap_servers")
        if name in _OURS or name.startswith("test.mock."):
            raise ValueError(f"{name!r} is set by Truthloop: exactly-once stands on it")
    return client


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class KafkaConfig(_Strict):
    """The cluster that carries predictions and labels."""

    bootstrap_servers: str = Field(
        min_length=1, max_length=2_000, description="host:port of one broker or several, with commas between."
    )
    client: Annotated[dict[str, Scalar], AfterValidator(_no_secret_and_not_ours)] = Field(
        default_factory=dict,
        description="Further properties of librdkafka, such as security.protocol or ssl.ca.location.",
    )


class StateConfig(_Strict):
    """Where the join keeps its state: a cache that can be made again from the lake."""

    dir: Annotated[str, AfterValidator(local_folder)] = Field(
        default="./state",
        min_length=1,
        description="Folder of the join's databases; a relative path starts at the config's own folder.",
    )


class HttpConfig(_Strict):
    """Where the page is, and where the processes answer: /livez, /readyz, /metrics."""

    bind: str = Field(default="127.0.0.1", min_length=1, max_length=255, description="Address to listen on.")
    port: int = Field(
        default=8080,
        ge=1,
        le=65_500,
        description="The page is here; ingest listens on the port after it, then join, then lake.",
    )
    hosts: list[Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9.-]+$")]] = Field(
        default_factory=list,
        description="Names under which the page may be asked for, beside localhost and addresses.",
    )
    user_header: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description="Header in which a proxy names the user it has authenticated, for instance X-Forwarded-User; the "
        "audit log then says so. Needs a token of the page that nobody but the proxy has, and a proxy that takes the "
        "header away from what readers send. Left out: who approves a backfill types a name, which nobody checks.",
    )
