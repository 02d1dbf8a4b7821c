"""How sampled records spell the values that a source compares with scalars of its config, and what becomes of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from streams.columns.json_text import text_as_json
from streams.columns.plan import Field, Plan, plan_of
from streams.columns.scalar import NON_SCALAR, json_text, to_bool, to_number
from streams.columns.scalar_match import IS_TEXT, condition_met, plain_values
from streams.readers.json_lines import parse_lines
from streams.readers.json_records import JsonRecords, RecordMetadata

__all__ = ["Spelling", "SpellingCount", "Spellings"]

TESTS: Final = ("eligible", "retract", "heartbeat")
_NESTED: Final = "(a list or an object)"


@dataclass(frozen=True)
class Spelling:
    """One value as it is in the records.

    Attributes:
        text: the value as JSON.
        becomes: yes or no, taken or left out, the value that it is mapped to, or why there is none.
    """

    text: str
    count: int
    becomes: str


@dataclass(frozen=True)
class Spellings:
    """The different values of one field, most frequent first.

    Attributes:
        field: its name, or `where` and the path.
        path: where it is read from.
    """

    field: str
    path: str
    seen: list[Spelling]


class SpellingCount:
    """Counts the spellings of one source's records, chunk by chunk.

    Attributes:
        fractions: by field that is text (versions, slices, classes, definitions), how many values are JSON numbers with
            a fraction; such a number has lost its trailing zeros.
    """

    def __init__(self, source: SourceMap, config: LoopConfig) -> None:
        self._plan = plan_of(source, source.as_, config, is_filtered=False)
        self._paths = {slot.name: slot.path for slot in self._plan.slots}
        self._texts = dict(_text_fields(self._plan, source, config))
        self._counts: dict[tuple[str, str], Counter[tuple[str, str]]] = {}
        self.fractions: Counter[str] = Counter()

    def add(self, texts: Sequence[bytes], metadata: RecordMetadata) -> None:
        """Count the values of some records; what is no JSON object is left out."""
        reader = JsonRecords(self._plan, keep_unknown=False, conditions={})
        frame = reader.read(parse_lines(texts, 0), texts, 0, metadata).frame
        for slot, wanted in self._plan.where.items():
            met, unread = condition_met(wanted, frame[slot])
            self._count("where", slot, frame[slot], _chosen(met, unread, "taken", "left out"))
            frame = frame.filter(met)
        for target, field in self._plan.fields.items():
            if len(field.slots) == 1 and not self._plan.is_canonical:
                values = frame[field.slots[0]]
                if (becomes := _becomes(target, field, values)) is not None:
                    self._count(target, field.slots[0], values, becomes)
        for target, slot in self._texts.items():
            numbers = to_number(frame[slot]) if frame[slot].dtype == pl.Float64 else pl.Series(dtype=pl.Float64)
            self.fractions[target] += int((numbers != numbers.floor()).sum())

    def _count(self, field: str, slot: str, values: pl.Series, becomes: pl.Series) -> None:
        frame = pl.DataFrame({"text": _as_json(values), "becomes": becomes}).drop_nulls("text")
        counts = self._counts.setdefault((field, self._paths[slot]), Counter())
        for text, what, count in frame.group_by("text", "becomes").len().iter_rows():
            counts[text, what] += count

    def found(self) -> list[Spellings]:
        """Return the spellings of each field that is compared with scalars of the config; first the conditions."""
        return [
            Spellings(
                field,
                path,
                [Spelling(text, count, what) for (text, what), count in sorted(counts.items(), key=_by_count)],
            )
            for (field, path), counts in self._counts.items()
        ]


def _by_count(entry: tuple[tuple[str, str], int]) -> tuple[int, str]:
    return -entry[1], entry[0][0]


def _text_fields(plan: Plan, source: SourceMap, config: LoopConfig) -> Iterator[tuple[str, str]]:
    """Yield the fields whose values are text in messages, and the column of each."""
    classes = {kind for kind, output in config.predictions.outputs.items() if output.task == "multiclass"}
    for target, field in plan.fields.items():
        group, _, name = target.partition(".")
        is_class = (group == "outputs" and name in classes) or (target == "value" and source.kind in classes)
        if (is_class or group == "slices" or target in ("version", "definition")) and len(field.slots) == 1:
            yield target, field.slots[0]


def _becomes(target: str, field: Field, values: pl.Series) -> pl.Series | None:
    """Return what becomes of each value; None for fields that are compared with nothing."""
    if field.matched is not None:
        texts = dict(enumerate(field.values))
        return field.matched.find(values).replace_strict(texts, default="not listed", return_dtype=pl.String)
    if target not in TESTS:
        return None
    plain = plain_values(values)
    answers = to_bool(plain) if field.allowed is None else field.allowed.test(values)
    return _chosen(answers.fill_null(value=False), plain.is_not_null() & answers.is_null(), "yes", "no")


def _chosen(is_true: pl.Series, is_unread: pl.Series, yes: str, no: str) -> pl.Series:
    columns = pl.DataFrame({"true": is_true, "unread": is_unread})
    unread = pl.when("unread").then(pl.lit("neither true nor false"))
    return columns.select(unread.when("true").then(pl.lit(yes)).otherwise(pl.lit(no))).to_series()


def _as_json(values: pl.Series) -> pl.Series:
    """Return values as JSON, text in quotes."""
    plain = plain_values(values)
    if plain.dtype != pl.String:
        return json_text(plain)
    quoted = json_text(plain)
    if isinstance(values.dtype, pl.Struct):
        quoted = quoted.zip_with(values.struct.field(IS_TEXT).fill_null(value=True), text_as_json(plain))
    return quoted.zip_with(~plain.str.starts_with(NON_SCALAR).fill_null(value=False), pl.Series([_NESTED]))
