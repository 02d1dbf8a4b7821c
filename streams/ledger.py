"""The ledger: one row per step and partition, which says what the step read and where it left everything.

A step's ledger row is written before its other rows, so that after a crash it says what to write again.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
import polars as pl

from joins import CommitPoint, Policy
from lake import Lake
from schemas.errors import ConfigError, LakeError

__all__ = ["APP", "Ledger", "RunFile", "RunRecord", "Step", "check_policy", "copy_of", "policy_json"]

APP = "replay"
"""The application whose Delta transaction version says how many steps a table holds."""

_MOMENT = pl.Datetime("us", "UTC")


class RunFile(msgspec.Struct):
    """One file of a run and what became of its records; the counts are zero until the run has finished.

    Attributes:
        name: of the file, without folders.
        sha256: of its content, hex.
        role: 'predictions' or 'labels'.
        read: records in the file = mapped + filtered + rejected, where no list makes several of one.
        mapped: canonical records made of them.
        filtered: records that the config's `where` leaves out.
        rejected: records that could not be mapped.
        reasons: why, with counts.
        flags: what was out of the contract and kept, with counts.
    """

    name: str
    sha256: str
    role: str
    read: int = 0
    mapped: int = 0
    filtered: int = 0
    rejected: int = 0
    reasons: dict[str, int] = {}
    flags: dict[str, int] = {}


class RunRecord(msgspec.Struct):
    """One run of `truthloop replay`: enough to tell whether another is the same one, going on.

    Attributes:
        predictions_first: offset of the run's first prediction.
        labels_first: the same of the labels.
        files: in argument order.
        finished: whether every record has been read; set by the run's last step.
    """

    predictions_first: int
    labels_first: int
    files: list[RunFile]
    finished: bool = False


@dataclass(frozen=True)
class Step:
    """One step as the ledger has it, all partitions together."""

    sequence: int
    now_ms: int
    predictions: tuple[int, int]
    labels: tuple[int, int]
    close_at_ms: int | None
    points: list[CommitPoint]
    run: RunRecord
    policy: str = field(repr=False)

    def rows(self) -> pl.DataFrame:
        """Return the step in the lake's columns."""
        rows = [self._row(partition, point) for partition, point in enumerate(self.points)]
        return pl.DataFrame(rows, schema=_SCHEMA, orient="row")

    def _row(self, partition: int, point: CommitPoint) -> dict[str, Any]:
        marks = {name: mark.reached_ms for name, mark in point.marks.items()}
        return {
            "sequence": self.sequence,
            "partition": partition,
            "now": _from_ms(self.now_ms),
            "predictions_first": self.predictions[0],
            "predictions_next": self.predictions[1],
            "labels_first": self.labels[0],
            "labels_next": self.labels[1],
            "floor": _from_ms(point.floor_ms),
            "policy": self.policy,
            "marks": _json(marks),
            "cursors": _json(point.cursors),
            "counters": _json(point.counters),
            "fingerprint": point.fingerprint,
            "point": _json(point),
            "run": _json(self.run),
            "close_at": _from_ms(self.close_at_ms),
        }


_SCHEMA: dict[str, Any] = {
    "sequence": pl.Int64,
    "partition": pl.Int32,
    "now": _MOMENT,
    "predictions_first": pl.Int64,
    "predictions_next": pl.Int64,
    "labels_first": pl.Int64,
    "labels_next": pl.Int64,
    "floor": _MOMENT,
    "policy": pl.String,
    "marks": pl.String,
    "cursors": pl.String,
    "counters": pl.String,
    "fingerprint": pl.Int64,
    "point": pl.String,
    "run": pl.String,
    "close_at": _MOMENT,
}


class Ledger:
    """What a lake's ledger says: the newest steps, and every file that was ever read to its end."""

    def __init__(self, lake: Lake) -> None:
        ledger = lake.scan("ledger").select(list(_SCHEMA))
        # A ledger grows with every night, and only its newest two steps are wanted whole.
        newest = ledger.filter(pl.col("sequence") >= pl.col("sequence").max() - 1)
        rows = newest.sort("sequence", "partition").collect()
        self.last = _step_at(rows, 0)
        self.before_last = _step_at(rows, 1)
        of_runs = ledger.filter(pl.col("partition") == 0).select("run").unique()
        runs = of_runs.collect()["run"].to_list()
        finished = [run for text in runs if (run := msgspec.json.decode(text, type=RunRecord)).finished]
        self.files = {file.sha256: file for run in finished for file in run.files}


def check_policy(policy: Policy, partitions: int, last: Step) -> None:
    """Refuse rules other than those the lake was made under.

    Raises:
        ConfigError: names every rule that differs, with both values.
    """
    old = msgspec.json.decode(last.policy)
    new = msgspec.json.decode(policy_json(policy, partitions))
    changes = sorted(_differences(old, new, ""))
    if changes:
        raise ConfigError(
            "the lake was made under other rules: " + "; ".join(changes),
            hint="Outcomes that were decided under one rule are not decided again under another: "
            "put the config back, or replay into another lake (lake.uri).",
        )


def policy_json(policy: Policy, partitions: int) -> str:
    """Return the rules that decide outcomes, as one JSON text."""
    return _json({"partitions": partitions, "disorder_ms": policy.disorder_ms, "labels": policy.kinds})


_T = TypeVar("_T", bound=msgspec.Struct)


def copy_of(value: _T) -> _T:
    """Return a copy that shares nothing, by way of the form in which the ledger keeps it."""
    return msgspec.json.decode(msgspec.json.encode(value), type=type(value))


def _differences(old: Any, new: Any, path: str) -> list[str]:  # noqa: ANN401 - any JSON value
    if isinstance(old, dict) and isinstance(new, dict):
        names = [*old, *(name for name in new if name not in old)]
        return [
            text for name in names for text in _differences(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))
        ]
    return [] if old == new else [f"{path} was {old!r} and is {new!r}"]


def _step_at(rows: pl.DataFrame, back: int) -> Step | None:
    sequences = rows["sequence"].unique().sort(descending=True).to_list()
    if len(sequences) <= back:
        return None
    step = rows.filter(pl.col("sequence") == sequences[back])
    first = step.row(0, named=True)
    if step["partition"].to_list() != list(range(step.height)):
        raise LakeError(f"the ledger's step {first['sequence']} does not hold every partition once")
    return Step(
        sequence=first["sequence"],
        now_ms=_to_ms(first["now"]) or 0,
        predictions=(first["predictions_first"], first["predictions_next"]),
        labels=(first["labels_first"], first["labels_next"]),
        close_at_ms=_to_ms(first["close_at"]),
        points=[msgspec.json.decode(text, type=CommitPoint) for text in step["point"].to_list()],
        run=msgspec.json.decode(first["run"], type=RunRecord),
        policy=first["policy"],
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_ms(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)


def _to_ms(moment: datetime | None) -> int | None:
    return None if moment is None else round(moment.timestamp() * 1000)
