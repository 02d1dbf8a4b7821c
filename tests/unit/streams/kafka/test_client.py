"""Limits that librdkafka ties together: our defaults leave room for the config's values, and the rest is refused.

Errors of the cluster: those that end by themselves, and others.
"""

from itertools import product

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.config.connection import KafkaConfig
from schemas.errors import BrokerError, ClusterAway, ConfigError
from streams.feedback.faust_security import group_timeouts
from streams.kafka.client import KafkaClients, broker_error, check_limits


def section(**client: object) -> KafkaConfig:
    """Return a `kafka` section with these properties of the client; `_` in names means a dot."""
    properties = {name.replace("_", "."): value for name, value in client.items()}
    return KafkaConfig.model_validate({"bootstrap_servers": "127.0.0.1:1", "client": properties})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("transaction_timeout_ms", (1_000, 5_000, 20_000, 600_000)),
        ("socket_timeout_ms", (100, 5_000, 30_000)),
        ("session_timeout_ms", (1_000, 6_000, 300_001, 3_600_000)),
        ("max_poll_interval_ms", (1_000, 44_999, 600_000)),
        ("fetch_max_bytes", (2_000_000, 200_000_000)),
        ("receive_message_max_bytes", (2_000_000, 31_999_999, 32_000_512, 500_000_000)),
    ],
)
def test_one_limit_that_the_config_sets_never_contradicts_our_defaults(name: str, values: tuple[int, ...]) -> None:
    """Every kind of client can be made."""
    for value in values:
        check_limits(section(**{name: value}))


@pytest.mark.parametrize(
    ("client", "named"),
    [
        ({"transaction_timeout_ms": 5_000, "socket_timeout_ms": 8_000}, "transaction.timeout.ms is 5000"),
        ({"socket_timeout_ms": 60_000}, "transaction.timeout.ms is 30000"),
        ({"session_timeout_ms": 50_000, "max_poll_interval_ms": 40_000}, "session.timeout.ms is 50000"),
        ({"message_timeout_ms": 60_000}, "message.timeout.ms is 60000, transaction.timeout.ms is 30000"),
        ({"linger_ms": 40_000}, "linger.ms is 40000"),
        ({"retries": 0}, "retries is 0"),
        ({"no_such_thing": 1}, "No such configuration property"),
        ({"linger_ms": "long"}, "Invalid value"),
    ],
)
def test_what_librdkafka_would_refuse_is_refused_before_a_role_starts(client: dict[str, object], named: str) -> None:
    """With its own sentence, and the values that it is about; the same as when the clients are made."""
    with pytest.raises(ConfigError, match=r"librdkafka refuses a property") as refused:
        check_limits(section(**client))
    assert named in str(refused.value)


def test_values_are_refused_exactly_where_they_exclude_each_other() -> None:
    """Over all pairs of values that a person might write."""
    choices = (None, 5_000, 12_000, 400_000)
    for transaction, socket, session, poll in product(choices, (None, 5_000, 40_000), choices, choices):
        given = {
            "transaction_timeout_ms": transaction,
            "socket_timeout_ms": socket,
            "session_timeout_ms": session,
            "max_poll_interval_ms": poll,
        }
        config = section(**{name: value for name, value in given.items() if value is not None})
        is_fit = (socket or 0) <= (transaction or 30_000) + 100 and (session or 0) <= (poll or 3_600_000)
        try:
            check_limits(config)
        except ConfigError:
            assert not is_fit, given
        else:
            assert is_fit, given


def test_what_follows_from_a_limit_follows_the_configs_value() -> None:
    """When a request is sent again, when a session has ended, and what Faust is told."""
    clients = KafkaClients(section(transaction_timeout_ms=5_000, max_poll_interval_ms=20_000), {})
    assert (clients.resent_after_s, clients.session_ended_after_s) == (5, 25)
    assert group_timeouts(section(max_poll_interval_ms=20_000))["broker_session_timeout"] == 20
    clients = KafkaClients(section(socket_timeout_ms=3_000), {})
    assert (clients.resent_after_s, clients.session_ended_after_s) == (3, 50)


def test_secrets_and_certificates_are_not_needed_for_it() -> None:
    """They are where the roles run."""
    check_limits(section(security_protocol="sasl_ssl", sasl_mechanism="PLAIN", ssl_ca_location="/no/such/file.pem"))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._ALL_BROKERS_DOWN, ClusterAway),
        (KafkaError.LEADER_NOT_AVAILABLE, ClusterAway),
        (KafkaError.NOT_LEADER_FOR_PARTITION, ClusterAway),  # while another leader is elected
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, BrokerError),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, BrokerError),
    ],
)
def test_what_ends_by_itself_is_waited_for_and_the_rest_is_not(code: int, kind: type[BrokerError]) -> None:
    """A role waits for a cluster that is away; any other error is for a person."""
    found = broker_error("it cannot be read", KafkaException(KafkaError(code)), KafkaClients(section(), {}))
    assert type(found) is kind
    assert "it cannot be read: " in found.what
