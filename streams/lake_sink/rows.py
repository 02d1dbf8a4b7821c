"""Turns a cut of the loop's topics into rows of the lake's tables, one partition at a time."""

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.errors import LakeError
from streams.kafka.topics import Topics
from streams.lake_sink.cut import Cut
from streams.ledger.row import LedgerRow, ledger_frame
from streams.messages.canonical import CanonicalReader
from streams.messages.lake_rows import label_rows, prediction_rows
from streams.messages.outcome import NoOutcomeError, OutcomeWire
from streams.messages.records import Projection
from streams.messages.reject import reject_frame

__all__ = ["LakeRows"]

_ONLY_THE_JOIN = "Only the join may write to the topics of outcomes and ledger: see what else does."


class LakeRows:
    """Makes the rows of one loop."""

    def __init__(self, config: LoopConfig) -> None:
        self._topics = Topics.of(config)
        self._reader = CanonicalReader(config)
        self._outcomes = OutcomeWire(Projection.of(config))

    def of(self, cut: Cut) -> dict[str, pl.DataFrame]:
        """Return the rows of a cut by table, in the lake's columns; tables without rows are left out.

        Raises:
            LakeError: the outcomes are not those of the cut's steps.
        """
        messages = cut.messages
        found = {
            "rejects": reject_frame(messages["rejects"].values) if messages["rejects"].values else None,
            "labels": self._inputs(cut, "labels"),
            "predictions": self._inputs(cut, "predictions"),
            "outcomes": self._outcome_rows(cut) if messages["outcomes"].values else None,
            "ledger": _ledger_row(cut) if cut.entries else None,
        }
        return {table: frame for table, frame in found.items() if frame is not None and frame.height}

    def _inputs(self, cut: Cut, table: str) -> pl.DataFrame | None:
        """Return the rows of readable canonical records; unreadable ones are among the rejects."""
        columns = cut.messages[table].columns
        if not columns[0]:
            return None
        is_predictions = table == "predictions"
        frame = (self._reader.prediction_frame if is_predictions else self._reader.label_frame)(*columns)
        positioned = frame.with_columns(
            pl.lit(cut.partition, dtype=pl.Int32).alias("partition"),
            pl.lit(self._topics.predictions if is_predictions else self._topics.labels).alias("source"),
            pl.col("offset").alias("row"),
        )
        return prediction_rows(positioned) if is_predictions else label_rows(positioned)

    def _outcome_rows(self, cut: Cut) -> pl.DataFrame:
        messages, where = cut.messages["outcomes"], f"topic {self._topics.outcomes}, partition {cut.partition}"
        try:
            frame = self._outcomes.frame(messages.values)
        except NoOutcomeError as error:
            at = messages.offsets[error.index]
            raise LakeError(error.what, where=f"{where}, offset {at}", hint=_ONLY_THE_JOIN) from None
        steps = pl.DataFrame(
            {"sequence": [entry.sequence for entry in cut.entries], "count": cut.outcomes},
            schema={"sequence": pl.Int64, "count": pl.Int64},
        )
        expected = steps.select(pl.col("sequence").repeat_by("count").explode().drop_nulls())["sequence"]
        if not frame["sequence"].equals(expected) or (frame["partition"] != cut.partition).any():
            raise LakeError("the outcomes are not those that the ledger counts", where=where, hint=_ONLY_THE_JOIN)
        return frame


def _ledger_row(cut: Cut) -> pl.DataFrame:
    """Return one row for all steps of a cut: the offsets from the first to the last, and the last checkpoint."""
    first, last = cut.entries[0], cut.entries[-1]
    closes = [entry.close_at for entry in cut.entries if entry.close_at is not None]
    row = LedgerRow(
        partition=cut.partition,
        sequence=last.sequence,
        now_ms=last.now,
        predictions=(first.predictions[0], last.predictions[1]),
        labels=(first.labels[0], last.labels[1]),
        checkpoint=last.checkpoint,
        policy=last.policy,
        commands=(first.commands[0], last.commands[1]),
        close_at_ms=max(closes, default=None),
    )
    return ledger_frame([row])
