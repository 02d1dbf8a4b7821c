"""The company of the demo as a process: a scoring service, an airport, and the pipeline that retrains.

It replays the year day by day: scores flights with the deployed model and sends arrivals. When the pipeline has trained
another model, that one is deployed, and the one before scores the same flights for some weeks, as its shadow. A year
takes a minute here, so the company waits when the loop's evidence is weeks behind, which does not happen in production.
"""

import io
import json
import logging
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event
from zoneinfo import ZoneInfo

import polars as pl
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from schemas.errors import BrokerError
from streams.kafka.client import KafkaClients
from streams.kafka.topics import Topics
from truthloop.config.settings import load_settings
from truthloop.demo.flights import NEW_YORK
from truthloop.demo.model import LateModel
from truthloop.demo.pipeline import Pipeline, Trained

__all__ = ["STATUS_FILE", "AirlineStatus", "Deployment", "flush_records", "main", "read_status", "send_records"]

log = logging.getLogger("airline")

STATUS_FILE = "airline.json"
AHEAD_MAX = timedelta(days=35)
"""How far the company may be ahead of the loop's evidence."""

SHADOW_PERIOD = timedelta(days=42)
"""How long the model before scores next to the deployed one."""

TIMEOUT_S = 180.0
_POLL_INTERVAL_S = 0.05


@dataclass(frozen=True)
class Deployment:
    """A model that was deployed.

    Attributes:
        since: the first day on which it is the deciding model.
        training_rows: None for the first model, like what follows.
        decision: id of the request that it was trained for.
        holdout_log_loss: on the holdout part of the data set.
    """

    version: str
    since: str
    training_rows: int | None = None
    decision: str | None = None
    holdout_log_loss: float | None = None


@dataclass
class AirlineStatus:
    """Progress of the company, which it writes to a file."""

    day: str = ""
    predictions: int = 0
    labels: int = 0
    deployments: list[Deployment] = field(default_factory=list)
    is_done: bool = False


class _Feeder:
    """Sends the records of a day."""

    def __init__(self, folder: Path, producer: Producer) -> None:
        scores = pl.read_parquet(folder / "predictions.parquet")
        arrivals = pl.read_csv(folder / "labels.csv")
        zone = ZoneInfo(NEW_YORK).key
        local = pl.col("scored_at").dt.convert_time_zone(zone).dt.date()
        arrived = pl.from_epoch("arrived_at_utc", "s").dt.replace_time_zone("UTC").dt.convert_time_zone(zone).dt.date()
        self._scores = scores.with_columns(day=local).partition_by("day", as_dict=True, include_key=False)
        self._arrivals = arrivals.with_columns(day=arrived).partition_by("day", as_dict=True, include_key=False)
        self.days = sorted({day for (day,) in (*self._scores, *self._arrivals) if isinstance(day, date)})
        self._producer = producer
        self.sent: list[pl.DataFrame] = []

    def scores_of(self, day: date, model: LateModel | None) -> pl.DataFrame:
        """Return the scores of a day by a model; None: by the first model, whose scores are in the file."""
        frame = self._scores.get((day,))
        if frame is None:
            return next(iter(self._scores.values())).clear()
        if model is None:
            return frame
        score = model.percent_late(frame["features"].struct.unnest())
        return frame.with_columns(
            score, model=pl.struct(name=pl.col("model").struct.field("name"), version=pl.lit(model.version))
        )

    def send_scores(self, frame: pl.DataFrame) -> int:
        """Send scores, keyed by carrier, and return their number."""
        self.sent.append(frame)
        keys, times = frame["features"].struct.field("carrier"), frame["scored_at"].dt.epoch("ms")
        return self._send("airline.scores", frame, keys, times)

    def send_arrivals(self, day: date) -> int:
        """Send the arrivals of a day, and return their number."""
        frame = self._arrivals.get((day,))
        if frame is None:
            return 0
        return self._send("airport.arrivals", frame, frame["flight"], frame["arrived_at_utc"] * 1000)

    def flush(self) -> None:
        """Wait until the cluster has acknowledged all records.

        Raises:
            BrokerError: it does not acknowledge them.
        """
        flush_records(self._producer)

    def _send(self, topic: str, frame: pl.DataFrame, keys: pl.Series, times: pl.Series) -> int:
        send_records(self._producer, topic, frame, keys, times)
        return frame.height


def send_records(producer: Producer, topic: str, frame: pl.DataFrame, keys: pl.Series, times: pl.Series) -> None:
    """Send rows as JSON records.

    Args:
        producer: buffers the records.
        topic: one of the company's.
        frame: a row per record.
        keys: of the records.
        times: timestamps of the records, in ms.

    Raises:
        BrokerError: the cluster refused a record.
    """
    target = io.BytesIO()
    frame.write_ndjson(target)
    for key, time_ms, line in zip(keys, times, target.getvalue().split(b"\n")[:-1], strict=True):
        while True:
            try:
                producer.produce(topic, value=line, key=key, timestamp=time_ms, on_delivery=_check_delivery)
            except BufferError:
                producer.poll(0.1)
            else:
                break
    producer.poll(0)


def flush_records(producer: Producer) -> None:
    """Wait until the cluster has acknowledged all records.

    Raises:
        BrokerError: it does not acknowledge them.
    """
    if producer.flush(TIMEOUT_S):
        raise BrokerError("Kafka does not accept the demo's records: no answer", hint="Check that its disk has space.")


def _check_delivery(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise BrokerError(
            f"Kafka does not accept the demo's records: {error.str()}", hint="Check that its disk has space."
        )


class _EvidenceTime:
    """The loop's newest evidence time, read from the topic of evidence."""

    def __init__(self, consumer: Consumer, topics: Topics) -> None:
        self._consumer = consumer
        consumer.assign([TopicPartition(topics.evidence, number, 0) for number in range(topics.partitions)])
        self.until_ms = 0

    def read(self) -> int:
        """Read new records and return the newest evidence time in epoch ms."""
        for message in self._consumer.consume(100, 0):
            if message.error() is None and (value := message.value()) is not None:
                self.until_ms = max(self.until_ms, int(json.loads(value)["at"]))
        return self.until_ms


class Airline:
    """Replays the year.

    Args:
        folder: of the status file.
        feeder: sends the records.
        evidence: of the loop.
        pipeline: trains models.
    """

    def __init__(self, folder: Path, feeder: _Feeder, evidence: _EvidenceTime, pipeline: Pipeline) -> None:
        self._status_file = folder / STATUS_FILE
        self._feeder = feeder
        self._evidence = evidence
        self._pipeline = pipeline
        self._models: list[tuple[date, LateModel | None]] = []
        self.status = AirlineStatus()
        self._pause = Event()

    def run(self) -> None:
        """Send all records, from the first day to the last."""
        first = self._feeder.days[0]
        self._models = [(first, None)]
        self.status.deployments.append(Deployment("v1", str(first)))
        for day in self._feeder.days:
            self._wait(day)
            while (trained := self._pipeline.next_trained()) is not None:
                self._deploy(trained, day)
            for model in self._models_of(day):
                self.status.predictions += self._feeder.send_scores(self._feeder.scores_of(day, model))
            self.status.labels += self._feeder.send_arrivals(day)
            self.status.day = str(day)
            self._write_status()
        self._feeder.flush()
        self.status.is_done = True
        self._write_status()

    def _wait(self, day: date) -> None:
        """Wait while a model is being trained, and while the evidence is weeks behind."""
        progress_s, seen_ms = time.monotonic(), self._evidence.read()
        end_ms = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000
        begin_ms = datetime(*self._feeder.days[0].timetuple()[:3], tzinfo=UTC).timestamp() * 1000
        while self._pipeline.is_busy or end_ms - max(seen_ms, begin_ms) > AHEAD_MAX.total_seconds() * 1000:
            self._pause.wait(_POLL_INTERVAL_S)
            new_ms = self._evidence.read()
            if new_ms != seen_ms or self._pipeline.is_busy:
                progress_s, seen_ms = time.monotonic(), new_ms
            elif time.monotonic() - progress_s > TIMEOUT_S:
                log.warning("no new evidence for %.0f s; the company stops waiting for it", TIMEOUT_S)
                return

    def _deploy(self, trained: Trained, day: date) -> None:
        model = trained.model
        self._models.append((day, model))
        self.status.deployments.append(
            Deployment(model.version, str(day), model.training_rows, trained.decision, trained.holdout_log_loss)
        )
        log.info("%s is deployed from %s on", model.version, day)

    def _models_of(self, day: date) -> list[LateModel | None]:
        """Return the deployed model, and during the shadow period the one before it."""
        since, newest = self._models[-1]
        if len(self._models) > 1 and day - since < SHADOW_PERIOD:
            return [newest, self._models[-2][1]]
        return [newest]

    def _write_status(self) -> None:
        draft = self._status_file.with_suffix(".draft")
        draft.write_text(json.dumps(asdict(self.status)))
        draft.replace(self._status_file)


def read_status(folder: Path) -> AirlineStatus:
    """Return the progress of the company; the initial status before it has started."""
    try:
        document = json.loads((folder / STATUS_FILE).read_text())
    except FileNotFoundError:
        return AirlineStatus()
    deployments = [Deployment(**row) for row in document.pop("deployments")]
    return AirlineStatus(**document, deployments=deployments)


def main(folder: Path, port: int) -> None:
    """Replay the year, then wait to be terminated; the pipeline listens until then.

    Args:
        folder: with the files that `prepare` wrote.
        port: of the pipeline.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s airline: %(message)s", stream=sys.stderr)
    settings = load_settings(folder / "truthloop.yaml")
    if settings.config.kafka is None or settings.config.retrain is None:
        raise BrokerError("the demo's config lacks its section `kafka` or `retrain`", where=str(settings.path))
    clients = KafkaClients(settings.config.kafka, os.environ, "airline")
    with Pipeline(port, os.environ[settings.config.retrain.target.secret_env]) as pipeline:
        feeder = _Feeder(folder, clients.producer())
        airline = Airline(folder, feeder, _EvidenceTime(clients.reader(), Topics.of(settings.config)), pipeline)
        airline.run()
        # the file gets the scores that were sent, so that a replay of it gives the same lake
        sent = pl.concat(feeder.sent).sort("scored_at", maintain_order=True)
        sent.write_parquet(folder / "predictions.parquet.sent")
        (folder / "predictions.parquet.sent").replace(folder / "predictions.parquet")
        Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
