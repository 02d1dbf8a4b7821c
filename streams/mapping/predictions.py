"""Converts raw columns to the canonical frame of predictions.

A prediction is rejected only if it cannot be joined (key, id, time, version). Invalid outputs, slices and features
become null with a flag; the text of an invalid output or feature is kept in `extras`, unless unknown features are
dropped: it may be anything, too.
"""

from collections.abc import Callable
from typing import Final

import polars as pl

from schemas.base.status import RejectReason
from schemas.config.loop import LoopConfig
from schemas.config.prediction import FeatureConfig
from streams.columns.digest import content_digests, contract_hash
from streams.columns.json_text import as_object, json_member, text_as_json
from streams.columns.plan import Field, Plan
from streams.columns.raw import INVALID, ROW, UNKNOWN
from streams.columns.scalar import NON_SCALAR, json_text, to_bool, to_int, to_number, to_text
from streams.columns.schema import feature_dtype, records_schema
from streams.mapping.field_values import answers, raw_values, unanswered, whole_text
from streams.mapping.redaction import Redaction
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

__all__ = ["PredictionConverter"]

_NOT_IN_DIGEST: Final = frozenset({"row", "key", "id", "arrived_at_ms", "flags", "extras"})
UNVERSIONED: Final = "unversioned"
"""The model version of a source that names none."""

_AsJson = Callable[[pl.Series], pl.Series]


class PredictionConverter:
    """Converts chunks of raw columns with one plan and contract.

    Args:
        plan: of the source.
        config: has the contract.
        redaction: hashes or drops features that are personal data.
        is_typed: the format distinguishes numbers from texts; if not (CSV), an unknown feature that looks like a number
            is one.
    """

    def __init__(self, plan: Plan, config: LoopConfig, redaction: Redaction, *, is_typed: bool) -> None:
        self._plan = plan
        self._redaction = redaction
        self._as_json = json_text if is_typed else text_as_json
        self._config = config
        self._schema = records_schema("predictions", config)
        self._contract = contract_hash(config)

    def convert(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, Rejected | None]:
        """Return the canonical frame of the valid records, and the rejected ones."""
        chunk = _PredictionChunk(raw, self._plan, self._config, self._redaction, self._as_json)
        return chunk.convert(self._schema, self._contract)


class _PredictionChunk:
    """The conversion of one chunk."""

    def __init__(
        self, raw: pl.DataFrame, plan: Plan, config: LoopConfig, redaction: Redaction, as_json: _AsJson
    ) -> None:
        self.raw = raw
        self.redaction = redaction
        self.as_json = as_json
        self.plan = plan
        self.contract = config.predictions
        self.checks = Checks(raw.height)
        self.columns: dict[str, pl.Series] = {ROW: raw.get_column(ROW)}
        self.invalid: list[pl.Series] = []

    def convert(self, schema: pl.Schema, contract: str) -> tuple[pl.DataFrame, Rejected | None]:
        check_message_version(self.raw, self.plan, self.checks)
        self._identity()
        self._eligibility()
        for kind, output in self.contract.outputs.items():
            self._output(kind, output.task)
        for name in self.contract.slices:
            texts = to_text(self._values(f"slices.{name}"))
            unread = unanswered(self.raw, self.plan.fields.get(f"slices.{name}"))
            self.checks.flag(unread, f"slice_{name}:invalid")
            self.columns[f"slice_{name}"] = short_text(texts, self.checks, f"slice_{name}", MAX_TEXT_BYTES)
        for name, feature in self.contract.features.items():
            if self.redaction.hides(name):
                self._redacted_feature(name, feature)
            else:
                self._feature(name, feature)
        invalid = as_object(self.invalid, self.raw.height)
        self.columns["extras"] = self._extras()
        self.columns["flags"] = self.checks.flags()
        frame = pl.DataFrame([column.alias(name) for name, column in self.columns.items()])
        # unknown features may differ when a record is sent again, so the digest has only the invalid values
        frame = frame.with_columns(invalid.alias(UNKNOWN))
        rejected = self.checks.rejected(self.raw)
        if rejected is not None:
            frame = frame.filter(rejected.is_good)
        digests = content_digests(frame.drop(*_NOT_IN_DIGEST), contract)
        return frame.with_columns(digests.alias("digest")).select(schema.names()).cast(schema), rejected

    def _values(self, target: str) -> pl.Series:
        return raw_values(self.raw, self.plan.fields.get(target))

    def _identity(self) -> None:
        fields, checks, columns = self.plan.fields, self.checks, self.columns
        columns["key"] = identity(self._values("key"), fields.get("key", Field()), checks, "key")
        given = self._values("id")
        if "id" not in fields or (fields["id"].is_optional and given.null_count() == len(given)):
            columns["id"] = columns["key"]
        else:
            defaults = given.is_null() if fields["id"].is_optional else None
            is_required = None if defaults is None else ~defaults
            ids = identity(given, fields["id"], checks, "id", is_required)
            columns["id"] = ids if defaults is None else columns["key"].zip_with(defaults, ids)
        columns["time_ms"] = required_time(self.raw, self.plan, checks)
        columns["arrived_at_ms"] = optional_time(self.raw, self.plan, checks, "arrived_at")
        columns["version"] = self._version()

    def _version(self) -> pl.Series:
        field = self.plan.fields.get("version")
        if field is None or (field.is_optional and not set(field.slots) & set(self.raw.columns)):
            # the whole file has no versions; in a file with versions, a record without one is rejected
            return pl.repeat(UNVERSIONED, self.raw.height, eager=True)
        texts = to_text(self._values("version"))
        self.checks.reject(texts.is_null(), RejectReason.BAD_VERSION, "version: missing")
        detail = f"version: not a text of 1 to {MAX_TEXT_BYTES} bytes without NUL"
        self.checks.reject(is_bad_text(texts, MAX_TEXT_BYTES), RejectReason.BAD_VERSION, detail)
        return texts

    def _eligibility(self) -> None:
        eligible, is_unread = answers(self.raw, self.plan.fields.get("eligible", Field(constant=True)))
        self.checks.flag(is_unread, "eligible:invalid")
        self.columns["eligible"] = eligible.fill_null(value=True)
        given = self._values("weight")
        weight = scaled(to_number(given), self.plan.fields.get("weight"))
        is_good = (weight >= 0).fill_null(value=False)
        self.checks.flag(given.is_not_null() & ~is_good, "weight:invalid")
        self.columns["weight"] = keep_where(weight, is_good).fill_null(1.0)

    def _output(self, kind: str, task: str) -> None:
        target, column = f"outputs.{kind}", f"output_{kind}"
        given = self._values(target)
        self.checks.flag(given.is_null(), f"{column}:missing")
        if task == "multiclass":
            values = whole_text(to_text(given), self.plan.fields.get(target))
            is_good = ~(is_bad_text(values, MAX_TEXT_BYTES) | values.is_null())
        else:
            values = scaled(to_number(given), self.plan.fields.get(target))
            is_good = values.is_not_null()
            if task == "binary":
                is_good &= values.is_between(0.0, 1.0).fill_null(value=False)
        self._set_checked(column, target, values, given, is_good)

    def _feature(self, name: str, feature: FeatureConfig) -> None:
        target, column = f"features.{name}", f"feature_{name}"
        given = self._values(target)
        self.checks.flag(given.is_null(), f"{column}:missing")
        field = self.plan.fields.get(target)
        if feature.type == "string":
            values = to_text(given)
            is_good = ~values.str.contains(NON_SCALAR, literal=True)
        elif feature.type == "bool":
            values = to_bool(given)
            is_good = values.is_not_null()
        else:
            exact = feature.type == "int" and (field is None or field.scale is None)
            values = to_int(given) if exact else scaled(to_number(given), field)
            values = to_int(values) if feature.type == "int" else values
            is_good = values.is_not_null()
        self._set_checked(column, name, values, given, is_good.fill_null(value=False))
        kept = self.columns[column]
        if feature.min is not None:
            self.checks.flag((kept < feature.min).fill_null(value=False), f"{column}:out_of_range")
        if feature.max is not None:
            self.checks.flag((kept > feature.max).fill_null(value=False), f"{column}:out_of_range")
        if feature.categories is not None:
            is_seen = kept.is_in(feature.categories).fill_null(value=True)
            self.checks.flag(~is_seen, f"{column}:unseen")

    def _redacted_feature(self, name: str, feature: FeatureConfig) -> None:
        """Keep a hash or nothing; unlike other features, an invalid value does not go to extras."""
        column = f"feature_{name}"
        given = self._values(f"features.{name}")
        if self.redaction.hashes(name):
            self.columns[column] = self.redaction.hashed(given)
            self.checks.flag(given.is_null(), f"{column}:missing")
            self.checks.flag(given.is_not_null() & self.columns[column].is_null(), f"{column}:invalid")
        else:
            self.columns[column] = pl.repeat(None, self.raw.height, dtype=feature_dtype(feature.type), eager=True)
            if feature.pii == "hash":
                self.checks.flag(given.is_not_null(), f"{column}:hidden")

    def _set_checked(self, column: str, name: str, values: pl.Series, given: pl.Series, is_good: pl.Series) -> None:
        """Set a column to its good values; the others become null, are flagged, and their text goes to extras."""
        is_invalid = given.is_not_null() & ~is_good
        self.columns[column] = values
        if is_invalid.any():
            self.columns[column] = keep_where(values, is_good)
            self.checks.flag(is_invalid, f"{column}:invalid")
            text = to_text(given).str.strip_prefix(NON_SCALAR)
            self.invalid.append(json_member(name, json_text(keep_where(text, is_invalid))))

    def _extras(self) -> pl.Series:
        keeps_all = self.contract.unknown_features == "keep"
        members = list(self.invalid) if keeps_all else []
        is_invalid = pl.repeat(value=False, n=self.raw.height, eager=True)
        extra_features = self.plan.extra_features if keeps_all else {}
        for name, target in extra_features.items():
            given, field = self._values(target), self.plan.fields[target]
            is_scaled = field.scale is not None
            values = scaled(to_number(given), field) if is_scaled else given
            kept, is_bad = _kept(values, json_text if is_scaled else self.as_json)
            members.append(json_member(name, kept))
            is_invalid |= is_bad
        if UNKNOWN in self.raw.columns:
            members.append(self.raw.get_column(UNKNOWN).str.strip_prefix("{").str.strip_suffix("}"))
        if INVALID in self.raw.columns:
            is_invalid |= self.raw.get_column(INVALID)
        self.checks.flag(is_invalid, "extras:invalid")
        return as_object(members, self.raw.height)


def _kept(given: pl.Series, as_json: _AsJson) -> tuple[pl.Series, pl.Series]:
    """Return a feature outside the contract as JSON, and where it is neither JSON nor a finite number: null there."""
    if given.dtype != pl.String:
        is_finite = given.is_finite() if given.dtype == pl.Float64 else given.is_not_null()
        return as_json(given), ~is_finite.fill_null(value=True) & given.is_not_null()
    is_scalar = ~given.str.starts_with(NON_SCALAR).fill_null(value=False)
    nested = given.str.strip_prefix(NON_SCALAR)
    is_nested = ~is_scalar & nested.str.contains(r"^[\[{]").fill_null(value=False)
    null = pl.repeat("null", len(given), eager=True)
    found = [as_json(keep_where(given, is_scalar)), keep_where(nested, is_nested), keep_where(null, ~is_scalar)]
    return pl.select(pl.coalesce(found)).to_series(), ~is_scalar & ~is_nested
