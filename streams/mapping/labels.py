"""Converts raw columns to the canonical frame of labels.

A label is rejected if it cannot be joined (key, kind, time, op) or its value or definition is invalid.
"""

from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from streams.columns.plan import Field, Plan
from streams.columns.raw import ROW
from streams.columns.scalar import to_bool, to_number, to_text
from streams.columns.schema import records_schema
from streams.mapping.field_values import answers, raw_values, whole_text
from streams.mapping.values import (
    MAX_TEXT_BYTES,
    Checks,
    Rejected,
    check_message_version,
    identity,
    is_bad_text,
    keep_where,
    optional_time,
    required_time,
    scaled,
    short_text,
)

__all__ = ["LabelConverter"]

_OPS: Final = ("upsert", "retract", "delete", "heartbeat")
_ORIGINS: Final = ("live", "backfill")


class LabelConverter:
    """Converts chunks of raw columns with one plan and the loop's label kinds."""

    def __init__(self, plan: Plan, config: LoopConfig) -> None:
        self._plan = plan
        self._config = config
        self._schema = records_schema("labels", config)

    def convert(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, Rejected | None]:
        """Return the canonical frame of the valid records, and the rejected ones."""
        return _LabelChunk(raw, self._plan, self._config).convert(self._schema)


class _LabelChunk:
    """The conversion of one chunk."""

    def __init__(self, raw: pl.DataFrame, plan: Plan, config: LoopConfig) -> None:
        self.raw = raw
        self.plan = plan
        self.config = config
        self.checks = Checks(raw.height)
        self.columns: dict[str, pl.Series] = {ROW: raw.get_column(ROW)}

    def convert(self, schema: pl.Schema) -> tuple[pl.DataFrame, Rejected | None]:
        raw, plan, checks, columns = self.raw, self.plan, self.checks, self.columns
        check_message_version(raw, plan, checks)
        op = self._op()
        is_heartbeat = op == "heartbeat"
        keys = identity(self._values("key"), plan.fields.get("key", Field()), checks, "key", ~is_heartbeat)
        columns["key"] = keep_where(keys, ~is_heartbeat)
        if plan.is_canonical:
            detail = "key: a heartbeat has none"
            checks.reject(is_heartbeat & keys.is_not_null(), RejectReason.BAD_KEY, detail)
            detail = "value: a retraction, deletion or heartbeat has none"
            has_value = self._values("value").is_not_null()
            checks.reject((op != "upsert") & has_value, RejectReason.BAD_VALUE, detail)
        columns["time_ms"] = required_time(raw, plan, checks)
        columns["kind"] = self._kind()
        columns["definition"] = self._definition()
        self._value(op == "upsert")
        columns["op"] = op
        columns["arrived_at_ms"] = optional_time(raw, plan, checks, "arrived_at")
        columns["happened_at_ms"] = optional_time(raw, plan, checks, "happened_at")
        columns["label_source"] = self._source()
        columns["origin"] = self._origin()
        batches = to_text(self._values("batch_id"))
        columns["batch_id"] = short_text(batches, checks, "batch_id", MAX_TEXT_BYTES)
        columns["flags"] = checks.flags()
        frame = pl.DataFrame([column.alias(name) for name, column in columns.items()])
        rejected = checks.rejected(raw)
        if rejected is not None:
            frame = frame.filter(rejected.is_good)
        return frame.select(schema.names()).cast(schema), rejected

    def _values(self, target: str) -> pl.Series:
        return raw_values(self.raw, self.plan.fields.get(target))

    def _op(self) -> pl.Series:
        ops = to_text(self._values("op")).fill_null("upsert")
        is_known = ops.is_in(list(_OPS))
        self.checks.reject(~is_known, RejectReason.BAD_OP, "op: none of upsert, retract, delete, heartbeat")
        # the later checks need some op of a rejected record, too
        ops = keep_where(ops, is_known).fill_null("upsert")
        for op in ("retract", "heartbeat"):
            if op in self.plan.fields:
                is_op, is_unread = answers(self.raw, self.plan.fields[op])
                # taken for no, it would make a label of a retraction
                self.checks.reject(is_unread, RejectReason.BAD_OP, f"{op}: reads neither as true nor as false")
                ops = pl.repeat(op, len(ops), eager=True).zip_with(is_op.fill_null(value=False), ops)
        return ops

    def _kind(self) -> pl.Series:
        known = list(self.config.labels)
        if self.plan.kind is not None:
            return pl.repeat(self.plan.kind, self.raw.height, eager=True)
        kinds = to_text(self._values("kind"))
        if self.plan.is_canonical and len(known) == 1:
            kinds = kinds.fill_null(known[0])
        is_known = kinds.is_in(known).fill_null(value=False)
        self.checks.reject(~is_known, RejectReason.UNKNOWN_KIND, f"kind: none of {', '.join(known)}")
        return keep_where(kinds, is_known).fill_null(known[0])

    def _definition(self) -> pl.Series:
        configured = self.columns["kind"].replace_strict(
            {kind: label.definition for kind, label in self.config.labels.items()}, return_dtype=pl.String
        )
        if "definition" not in self.plan.fields:
            return configured
        texts = to_text(self._values("definition")).fill_null(configured)
        detail = f"definition: not a text of 1 to {MAX_TEXT_BYTES} bytes without NUL"
        self.checks.reject(is_bad_text(texts, MAX_TEXT_BYTES), RejectReason.BAD_VALUE, detail)
        self.checks.flag(texts != configured, "other_definition")
        return texts

    def _value(self, is_required: pl.Series) -> None:
        field = self.plan.fields.get("value")
        given = self._values("value")
        self.checks.reject(is_required & given.is_null(), RejectReason.BAD_VALUE, "value: missing, or not in `values`")
        number = pl.repeat(None, self.raw.height, dtype=pl.Float64, eager=True)
        text = pl.repeat(None, self.raw.height, dtype=pl.String, eager=True)
        for task in sorted({output.task for output in self.config.predictions.outputs.values()}):
            kinds = [kind for kind, output in self.config.predictions.outputs.items() if output.task == task]
            is_of_task = is_required & self.columns["kind"].is_in(kinds)
            if task == "multiclass":
                texts = whole_text(to_text(given), field)
                texts = keep_where(texts, ~is_bad_text(texts, MAX_TEXT_BYTES))
                text = texts.zip_with(is_of_task, text)
                wanted = (
                    "whole number" if field is not None and field.is_whole else f"class of 1 to {MAX_TEXT_BYTES} bytes"
                )
                is_bad, detail = texts.is_null(), f"value: not a {wanted}"
            else:
                numbers = scaled(to_number(given), field)
                if task == "binary":
                    numbers = to_bool(numbers).cast(pl.Float64)
                    numbers = numbers.zip_with(numbers.is_not_null(), to_bool(given).cast(pl.Float64))
                number = numbers.zip_with(is_of_task, number)
                is_bad = numbers.is_null()
                detail = "value: neither 0 nor 1" if task == "binary" else "value: not a finite number"
            self.checks.reject(is_of_task & given.is_not_null() & is_bad, RejectReason.BAD_VALUE, detail)
        self.columns["value"] = number
        self.columns["value_class"] = text

    def _source(self) -> pl.Series:
        fixed = self.plan.label_source
        given = to_text(self._values("source"))
        texts = given if fixed is None else given.fill_null(fixed)
        return short_text(texts, self.checks, "source", MAX_TEXT_BYTES)

    def _origin(self) -> pl.Series:
        origins = to_text(self._values("origin")).fill_null("live")
        is_known = origins.is_in(list(_ORIGINS))
        self.checks.flag(~is_known, "origin:invalid")
        return keep_where(origins, is_known).fill_null("live")
