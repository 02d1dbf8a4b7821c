"""A loop that begins with all that another one knows: with more partitions, another definition, other kinds.

Its topics get every record that the other's lake holds, and its ingest goes on where the other's has stopped. The
other's lake stays as it is, with the history of what was known when. Must not decide what joins.
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
from streams.kafka.client import LEFT_AFTER_S, REACH_TIMEOUT_S, KafkaClients, broker_error
from streams.kafka.topics import Topics
from streams.seed.history import PastSender
from streams.status import LoopStatus

if TYPE_CHECKING:
    from streams.columns.schema import Role

__all__ = ["check_finished", "closed_until_ms", "send_lake", "wait_until_stopped"]

DAY_MS: Final = 86_400_000
_GONE: Final = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)


def wait_until_stopped(clients: KafkaClients, topics: Topics) -> None:
    """Wait until no worker of a loop is left.

    Raises:
        BrokerError: some role still runs, or the cluster does not answer.
    """
    groups = {topics.group(role): role for role in ("ingest", "join", "lake")}
    admin, deadline_s = clients.admin(), monotonic() + LEFT_AFTER_S
    while True:
        try:
            asked = admin.describe_consumer_groups(list(groups), request_timeout=REACH_TIMEOUT_S)
            running = [role for group, role in groups.items() if asked[group].result().state not in _GONE]
        except KafkaException as error:
            raise broker_error("it cannot be told whether the loop runs", error, clients) from None
        if not running:
            return
        if monotonic() > deadline_s:
            raise BrokerError(
                f"still runs: {', '.join(running)}", where=f"loop {topics.loop}", hint="Stop all its roles first."
            )
        Event().wait(1)


def check_finished(stand: LoopStatus, topics: Topics) -> None:
    """Refuse a loop whose lake does not hold everything that its topics do.

    Raises:
        StateError: the join has records to read, or the lake writer steps to write.
    """
    left = {topic: count for topic, count in stand.join.items() if count}
    if left or stand.lake_behind or not stand.entries:
        what = [f"{count:,} offsets of {topic} are to be joined" for topic, count in left.items()]
        what += [f"the lake is {stand.lake_behind:,} steps behind"] if stand.lake_behind else []
        raise StateError(
            "; ".join(what) or "nothing was joined yet",
            where=f"loop {topics.loop}",
            hint="Stop ingest, let join and lake finish (`truthloop status`), then stop them too.",
        )


def closed_until_ms(stand: LoopStatus) -> int | None:
    """Return up to when all inputs of all partitions are complete, or None where one has not said."""
    reached = [
        watermark.reached_ms for entry in stand.entries.values() for watermark in entry.checkpoint.watermarks.values()
    ]
    return None if None in reached else min((ms for ms in reached if ms is not None), default=None)


def send_lake(clients: KafkaClients, config: LoopConfig, lake: Lake, progress: Callable[[int], None]) -> int:
    """Send every prediction and label of a lake to a loop's topics, in the order of time; return how many.

    Heartbeats are left out: what they promise is of the other partitions.

    Args:
        clients: of the cluster.
        config: of the loop that begins.
        lake: of the other one.
        progress: told how many records have been sent.

    Raises:
        ConfigError: the loop that begins wants an output that the other one does not have.
        BrokerError: the cluster does not take the records.
    """
    sender = PastSender(clients, Topics.of(config), progress)
    kinds = list(config.labels)
    predictions = lake.scan("predictions")
    there = predictions.collect_schema().names()
    if missing := [kind for kind in config.predictions.outputs if f"output_{kind}" not in there]:
        raise ConfigError(
            f"outputs {missing} are in no prediction of the other loop",
            hint="A loop that predicts more begins anew: truthloop start.",
        )
    labels = lake.scan("labels").filter(pl.col("op") != "heartbeat", pl.col("kind").is_in(kinds))
    _send_table(sender, "predictions", predictions, "predicted_at", config)
    _send_table(sender, "labels", labels, "known_at", config)
    sender.finish()
    return sender.sent


def _send_table(sender: PastSender, role: "Role", rows: pl.LazyFrame, time: str, config: LoopConfig) -> None:
    """Send a table day by day, so that memory holds one day."""
    ends = rows.select(pl.col(time).min().alias("first"), pl.col(time).max().alias("last")).collect().row(0)
    if None in ends:
        return
    first_ms, last_ms = (int(end.timestamp() * 1000) for end in ends)
    at_ms = pl.col(time).dt.epoch("ms")
    for start_ms in range(first_ms, last_ms + 1, DAY_MS):
        day = rows.filter(at_ms >= start_ms, at_ms < start_ms + DAY_MS).sort(time, "partition", "offset")
        sender.send(role, _canonical(day, role, config).collect())


def _canonical(rows: pl.LazyFrame, role: "Role", config: LoopConfig) -> pl.LazyFrame:
    """Return rows of a lake's table in the columns of the loop that begins; what the other had not is null."""
    there = set(rows.collect_schema().names())
    times = {"time_ms": "predicted_at" if role == "predictions" else "label_time"}
    times |= {name: name.removesuffix("_ms") for name in ("arrived_at_ms", "happened_at_ms")}
    columns = []
    for name, dtype in records_schema(role, config).items():
        if name in times:
            columns.append(pl.col(times[name]).dt.epoch("ms").alias(name))
        else:
            columns.append(pl.col(name) if name in there else pl.lit(None, dtype).alias(name))
    return rows.select(columns)
