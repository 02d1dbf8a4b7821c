"""The codebook of one fold: cohorts and measures as integers while rows are counted, as texts in the cells.

Grouping by integers is many times faster than by texts. The codes are valid within one fold only.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from monitor.cells.cohort import ALL, cohort_day, day_starts_ms, slice_texts
from monitor.cells.packing import CELL_KEY, decode_cells, sum_by
from monitor.cells.plan import CellPlan
from monitor.cells.slots import Slots

__all__ = ["DAY_PANES", "Codebook"]

DAY_PANES = 25
"""Panes of the longest day: the one on which clocks go back."""

_HOUR_US = 3_600_000_000
_NO_ROWS = pl.DataFrame(schema=dict.fromkeys(("version", "day", "measure", "amount"), pl.Int64))


@dataclass(frozen=True)
class Codebook:
    """Codes of the cohorts and measures of one fold. The code of a value is its index in the sequence that holds it.

    Make one with `Codebook.of(plan, predictions, states)`.

    Attributes:
        timezone: of cohort days.
        versions: sorted.
        slices: texts of all slices of every name, sorted.
        kinds: sorted, with `""` for cells of no kind.
        definitions: sorted, with `""` for cells without a definition.
        days: all cohort days, sorted.
        admitted: by slice name, the values that have a text of their own on some day.
        slots: by slice name, [days * values]: the code of each of these on each day.
        measures: codes by measure, in order of first use.
    """

    timezone: str
    versions: tuple[str, ...]
    slices: tuple[str, ...]
    kinds: tuple[str, ...]
    definitions: tuple[str, ...]
    days: pl.Series
    admitted: Mapping[str, Sequence[str]]
    slots: Mapping[str, pl.Series]
    measures: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: CellPlan, predictions: pl.DataFrame, states: pl.DataFrame) -> "Codebook":
        """Return the codebook of everything that occurs in these rows."""
        frames = [frame for frame in (predictions, states) if not frame.is_empty()]
        versions = {version for frame in frames for version in frame.get_column("version").unique()}
        definitions = set(states.get_column("definition").unique()) | {kind.definition for kind in plan.kinds}
        cohorts = [frame.select(cohort_day(plan.timezone).unique()).to_series() for frame in frames]
        days = sorted(set().union(*cohorts))
        admitted, texts, held = dict[str, list[str]](), {ALL}, dict[str, npt.NDArray[np.bool_]]()
        for name in plan.slices:
            values, held[name] = plan.slots.get(name, Slots()).table(days)
            admitted[name] = values
            real, missing, other = slice_texts(name, values)
            texts.update(real, (missing, other))
        slices = sorted(texts)
        return cls(
            timezone=plan.timezone,
            versions=tuple(sorted(versions)),
            slices=tuple(slices),
            kinds=tuple(sorted({"", *(kind.name for kind in plan.kinds)})),
            definitions=tuple(sorted({"", *definitions})),
            days=pl.Series("days", days, dtype=pl.Date),
            admitted=admitted,
            slots={name: _slot_codes(name, admitted[name], held[name], slices) for name in plan.slices},
        )

    @property
    def sizes(self) -> dict[str, int]:
        """How many versions, days and definitions there are."""
        return {"version": len(self.versions), "day": len(self.days), "definition": len(self.definitions)}

    def measure(self, name: str) -> int:
        """Return the code of a measure; a new one on first use."""
        return self.measures.setdefault(name, len(self.measures))

    def encode(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows with codes for version, definition (if present) and slices, and the new columns `day` and `pane`.

        `pane` is the hour of the cohort day in which the prediction was made: 0 to 23, and 24 on a day of 25 hours.
        """
        codes = [_code("version", self.versions)]
        if "definition" in rows.columns:
            codes.append(_code("definition", self.definitions))
        starts_us = [start * 1_000 for start in day_starts_ms(self.days, self.timezone)]
        start_us = pl.lit(pl.Series(starts_us, dtype=pl.Int64)).gather(pl.col("day"))
        since_us = pl.col("predicted_at").dt.timestamp("us") - start_us
        day = pl.lit(self.days).search_sorted(cohort_day(self.timezone)).cast(pl.Int64)
        return (
            rows.lazy()
            .with_columns(*codes, day=day)
            .with_columns(*(self._slice_code(name) for name in self.admitted))
            .with_columns(pane=(since_us // _HOUR_US).clip(0, DAY_PANES - 1))
            .collect()
        )

    def sum_by_slices(
        self, rows: pl.DataFrame, keys: Mapping[str, int], amounts: Sequence[str], names: Sequence[str]
    ) -> pl.DataFrame:
        """Return sums by `keys` and slice: the slice of all, and every slice of `names`.

        The slice of all is summed from the sums of the first name, which have far fewer rows.

        Args:
            rows: encoded.
            keys: as for `sum_by`.
            amounts: as for `sum_by`.
            names: slice names.

        Returns:
            The columns of `keys`, `slice`, and `amounts` (`amount` where rows are counted).
        """
        summed = amounts or ["amount"]
        by_name = pl.collect_all(
            sum_by(rows, {**keys, f"slice_{name}": len(self.slices)}, amounts).rename({f"slice_{name}": "slice"})
            for name in names
        )
        total = sum_by(by_name[0], keys, summed) if by_name else sum_by(rows, keys, amounts)
        columns = [*keys, "slice", *summed]
        all_ = total.with_columns(slice=self._all()).select(columns).collect()
        return pl.concat([all_, *(frame.select(columns) for frame in by_name)])

    def sum_by_slice(
        self, rows: pl.DataFrame, keys: Mapping[str, int], amounts: Sequence[str], name: str | None
    ) -> pl.DataFrame:
        """Return sums by `keys` and the slice of one name; with None, those of the slice of all."""
        if name is None:
            return sum_by(rows, keys, amounts).with_columns(slice=self._all()).collect()
        column = f"slice_{name}"
        return sum_by(rows, {**keys, column: len(self.slices)}, amounts).rename({column: "slice"}).collect()

    def encoded_cells(self, rows: pl.DataFrame | pl.LazyFrame, kind: str, definition: str) -> pl.LazyFrame:
        """Return encoded cells, all of one kind, with defaults for the columns that are missing.

        Args:
            rows: version, day, measure, amount, and optionally slice (default: that of all), definition (default: the
                one given), bin (default: 0), bin_order (default: the bin).
            kind: a kind, or `""`.
            definition: a definition, or `""`.
        """
        lazy = rows.lazy()
        defaults = {
            "slice": self._all(),
            "definition": pl.lit(self.definitions.index(definition), dtype=pl.Int64),
            "bin": pl.lit(0, dtype=pl.Int64),
            "bin_order": pl.col("bin"),
        }
        for column, value in defaults.items():
            if column not in lazy.collect_schema():
                lazy = lazy.with_columns(value.alias(column))
        lazy = lazy.with_columns(kind=pl.lit(self.kinds.index(kind), dtype=pl.Int64))
        return lazy.select(pl.col(*CELL_KEY, "bin_order", "bin", "amount").cast(pl.Int64))

    def decode(self, parts: Iterable[pl.LazyFrame]) -> pl.DataFrame:
        """Return cells, sorted and without zeros, from encoded ones. No cell may occur twice."""
        names = sorted(self.measures)
        ranks = {name: rank for rank, name in enumerate(names)}
        rank = pl.lit(pl.Series([ranks[name] for name in self.measures], dtype=pl.Int64))
        texts = {
            "version": self.versions,
            "slice": self.slices,
            "kind": self.kinds,
            "definition": self.definitions,
            "measure": names,
        }
        values = {name: pl.Series(name, found, dtype=pl.String) for name, found in texts.items()}
        coded = (part.with_columns(measure=rank.gather(pl.col("measure"))) for part in parts)
        return decode_cells([self.encoded_cells(_NO_ROWS, "", ""), *coded], {**values, "day": self.days})

    def _all(self) -> pl.Expr:
        return pl.lit(self.slices.index(ALL), dtype=pl.Int64)

    def _slice_code(self, name: str) -> pl.Expr:
        values = list(self.admitted[name])
        _, missing, other = slice_texts(name, values)
        value = pl.col(f"slice_{name}").cast(pl.String)
        place = value.cast(pl.Enum(values), strict=False).to_physical().cast(pl.Int64)
        known = pl.lit(self.slots[name]).gather(pl.col("day") * len(values) + place)
        missing_or_known = pl.when(value.is_null()).then(self.slices.index(missing)).otherwise(known)
        return missing_or_known.fill_null(self.slices.index(other)).alias(f"slice_{name}")


def _slot_codes(name: str, values: Sequence[str], held: npt.NDArray[np.bool_], slices: Sequence[str]) -> pl.Series:
    """Return [days * values]: the code of the value's slice on days on which it has a slot, else that of the others."""
    real, _, other = slice_texts(name, values)
    places = {text: place for place, text in enumerate(slices)}
    own = np.asarray([places[text] for text in real], dtype=np.int64)
    return pl.Series(np.where(held, own, places[other]).ravel(), dtype=pl.Int64)


def _code(column: str, texts: Sequence[str]) -> pl.Expr:
    return pl.col(column).cast(pl.Enum(texts)).to_physical().cast(pl.Int64)
