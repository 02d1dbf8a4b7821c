"""Starts a new loop with all records of an old one: with more partitions, another definition, or other kinds.

The new topics get every record that the old join accepted, and the new ingest continues at the offsets of the old one.
The old lake stays unchanged, with its history of what was known when.
"""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Final

import polars as pl
from confluent_kafka import ConsumerGroupState, KafkaException

from lake import Lake
from schemas.config.loop import LoopConfig
from schemas.errors import BrokerError, ConfigError, StateError
from streams.columns.schema import records_schema
from streams.kafka.client import REQUEST_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.topics import Topics
from streams.seed.accepted import accepted_by_day
from streams.seed.history import RecordSender
from streams.status import LoopStatus

if TYPE_CHECKING:
    from streams.columns.schema import Role

__all__ = ["check_finished", "least_watermark_ms", "send_lake", "wait_until_stopped"]

_WITHOUT_MEMBERS: Final = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)


def wait_until_stopped(clients: KafkaClients, topics: Topics) -> None:
    """Wait until no worker of a loop is running.

    Raises:
        BrokerError: a role is still running after the session timeout, or the cluster does not answer.
    """
    groups = {topics.group(role): role for role in ("ingest", "join", "lake")}
    admin, deadline_s = clients.admin(), monotonic() + clients.session_ended_after_s
    while True:
        try:
            found = admin.describe_consumer_groups(list(groups), request_timeout=REQUEST_TIMEOUT_S)
            running = [role for group, role in groups.items() if found[group].result().state not in _WITHOUT_MEMBERS]
        except KafkaException as error:
            raise broker_error("the state of the loop's consumer groups cannot be read", error, clients) from None
        if not running:
            return
        if monotonic() > deadline_s:
            raise BrokerError(
                f"still running: {', '.join(running)}", where=f"loop {topics.loop}", hint="Stop all its roles first."
            )
        Event().wait(1)


def check_finished(status: LoopStatus, topics: Topics) -> None:
    """Check that the lake has everything that the loop's topics have.

    Raises:
        StateError: the join has records to read, or the lake writer steps to write.
    """
    lag = {topic: count for topic, count in status.join.items() if count}
    if lag or status.lake_behind or not status.entries:
        reasons = [f"{count:,} offsets of {topic} are not joined yet" for topic, count in lag.items()]
        reasons += [f"the lake is {status.lake_behind:,} steps behind"] if status.lake_behind else []
        raise StateError(
            "; ".join(reasons) or "nothing was joined yet",
            where=f"loop {topics.loop}",
            hint="Stop ingest, let join and lake finish (`truthloop status`), then stop them too.",
        )


def least_watermark_ms(status: LoopStatus) -> int | None:
    """Return the least watermark of all inputs and partitions, or None if one input has none."""
    reached = [
        watermark.reached_ms for entry in status.entries.values() for watermark in entry.checkpoint.watermarks.values()
    ]
    return None if None in reached else min((ms for ms in reached if ms is not None), default=None)


def send_lake(clients: KafkaClients, config: LoopConfig, lake: Lake, progress: Callable[[int], None]) -> int:
    """Send what an old loop accepted to a new loop's topics; return the number of records.

    The order is that of `streams.seed.accepted`. Heartbeats are left out: they are about the old partitions. So are
    labels that the old loop has withdrawn.

    Args:
        clients: of the new loop's cluster.
        config: of the new loop; its outputs and kinds select what is sent.
        lake: of the old loop.
        progress: called with the number of records sent so far.

    Raises:
        ConfigError: the new loop has an output that the old one does not have.
        BrokerError: some records were not delivered.
    """
    sender = RecordSender(clients, Topics.of(config), progress)
    kinds = list(config.labels)
    predictions = lake.scan("predictions")
    columns = predictions.collect_schema().names()
    if missing := [kind for kind in config.predictions.outputs if f"output_{kind}" not in columns]:
        raise ConfigError(
            f"outputs {missing} are in no prediction of the other loop",
            hint="A loop with new outputs has to start without history: truthloop start.",
        )
    labels = lake.scan("labels").filter(pl.col("op") != "heartbeat", pl.col("kind").is_in(kinds))
    inputs: dict[Role, pl.LazyFrame] = {"predictions": predictions, "labels": labels}
    for role, rows in inputs.items():
        for day in accepted_by_day(role, rows, lake.scan("rejects")):
            sender.send(role, _canonical(day, role, config).collect())
    sender.finish()
    return sender.sent


def _canonical(rows: pl.LazyFrame, role: "Role", config: LoopConfig) -> pl.LazyFrame:
    """Return rows of the old lake in the canonical columns of the new loop; columns that the old one lacks are null."""
    known = set(rows.collect_schema().names())
    times = {"time_ms": "predicted_at" if role == "predictions" else "label_time"}
    times |= {name: name.removesuffix("_ms") for name in ("arrived_at_ms", "happened_at_ms")}
    columns = []
    for name, dtype in records_schema(role, config).items():
        if name in times:
            columns.append(pl.col(times[name]).dt.epoch("ms").alias(name))
        else:
            columns.append(pl.col(name) if name in known else pl.lit(None, dtype).alias(name))
    return rows.select(columns)
