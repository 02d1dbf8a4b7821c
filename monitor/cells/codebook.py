"""The code book of one fold: cohorts and measures as whole numbers while they are counted, as texts in the end.

Numbers group many times faster than texts. They are a fold's own and mean nothing outside of it; this module
must not count, nor keep anything from one fold for the next.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from monitor.cells.cohort import ALL, cohort_day, day_starts_ms, slice_texts
from monitor.cells.packing import PLACE, decoded, sums
from monitor.cells.plan import CellPlan

__all__ = ["Codebook"]

_DAY_PANES = 25
_HOUR_US = 3_600_000_000
_NOTHING = pl.DataFrame(schema=dict.fromkeys(("version", "day", "measure", "amount"), pl.Int64))


@dataclass(frozen=True)
class Codebook:
    """Numbers for the cohorts and measures of one fold.

    Make one with `Codebook.of(plan, predictions, states)`.

    Attributes:
        timezone: of cohort days.
        versions: all versions, sorted; the number of each is its place. So it is for the next three.
        slices: all texts of slices, of every name.
        kinds: all kinds, and `""` for what belongs to none.
        definitions: all definitions, and `""` for what has none.
        days: all cohort days, sorted.
        admitted: for each slice name, the values that have a text of their own.
        measures: numbers of measures in order of first use.
    """

    timezone: str
    versions: tuple[str, ...]
    slices: tuple[str, ...]
    kinds: tuple[str, ...]
    definitions: tuple[str, ...]
    days: pl.Series
    admitted: Mapping[str, Sequence[str]]
    measures: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: CellPlan, predictions: pl.DataFrame, states: pl.DataFrame) -> "Codebook":
        """Return numbers for everything in these rows."""
        admitted = {name: sorted(plan.values.get(name, ())) for name in plan.slices}
        texts = {ALL}
        for name, values in admitted.items():
            real, missing, other = slice_texts(name, values)
            texts.update(real, (missing, other))
        frames = [frame for frame in (predictions, states) if not frame.is_empty()]
        versions = {version for frame in frames for version in frame.get_column("version").unique()}
        definitions = set(states.get_column("definition").unique()) | {kind.definition for kind in plan.kinds}
        days = [frame.select(cohort_day(plan.timezone).unique()).to_series() for frame in frames]
        return cls(
            timezone=plan.timezone,
            versions=tuple(sorted(versions)),
            slices=tuple(sorted(texts)),
            kinds=tuple(sorted({"", *(kind.name for kind in plan.kinds)})),
            definitions=tuple(sorted({"", *definitions})),
            days=pl.Series("days", sorted(set().union(*days)), dtype=pl.Date),
            admitted=admitted,
        )

    @property
    def sizes(self) -> dict[str, int]:
        """How many versions, days and definitions there are."""
        return {"version": len(self.versions), "day": len(self.days), "definition": len(self.definitions)}

    def coded(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows with numbers for version, definition (if there is one) and slices; `day` and `pane` added.

        A pane is the hour of the cohort day that the prediction was made in: 0 to 23, and 24 on a day of 25 hours.
        """
        codes = [_number("version", self.versions)]
        if "definition" in rows.columns:
            codes.append(_number("definition", self.definitions))
        codes.extend(self._slice_number(name) for name in self.admitted)
        starts_us = [start * 1_000 for start in day_starts_ms(self.days, self.timezone)]
        start_us = pl.lit(pl.Series(starts_us, dtype=pl.Int64)).gather(pl.col("day"))
        since_us = pl.col("predicted_at").dt.timestamp("us") - start_us
        day = pl.lit(self.days).search_sorted(cohort_day(self.timezone)).cast(pl.Int64)
        return (
            rows.lazy()
            .with_columns(*codes, day=day)
            .with_columns(pane=(since_us // _HOUR_US).clip(0, _DAY_PANES - 1))
            .collect()
        )

    def slice_number(self, text: str) -> int:
        """Return the number of a slice's text."""
        return self.slices.index(text)

    def measure(self, name: str) -> int:
        """Return the number of a measure, a new one where it has none."""
        return self.measures.setdefault(name, len(self.measures))

    def table(
        self, rows: pl.DataFrame, keys: Mapping[str, int], amounts: Sequence[str], slices: Sequence[str]
    ) -> pl.DataFrame:
        """Return the sums of `amounts` (or the number of rows) by `keys`, for all rows and for each slice name.

        Args:
            rows: coded ones.
            keys: as for `sums`.
            amounts: as for `sums`.
            slices: names of slices to be told apart.

        Returns:
            The columns of `keys` and `amounts`, and `slice`. What concerns all rows is summed from the first
            slice's sums, which are far fewer.
        """
        added = amounts or ["amount"]
        apart = pl.collect_all(
            sums(rows, {**keys, f"slice_{name}": len(self.slices)}, amounts).rename({f"slice_{name}": "slice"})
            for name in slices
        )
        total = sums(apart[0], keys, added) if apart else sums(rows, keys, amounts)
        columns = [*keys, "slice", *added]
        all_ = total.with_columns(slice=pl.lit(self.slice_number(ALL), dtype=pl.Int64)).select(columns).collect()
        return pl.concat([all_, *(frame.select(columns) for frame in apart)])

    def apart(
        self, rows: pl.DataFrame, keys: Mapping[str, int], amounts: Sequence[str], name: str | None
    ) -> pl.DataFrame:
        """Return the sums by `keys` and the slice of this name; with None, those of all rows."""
        if name is None:
            all_ = pl.lit(self.slice_number(ALL), dtype=pl.Int64)
            return sums(rows, keys, amounts).with_columns(slice=all_).collect()
        column = f"slice_{name}"
        return sums(rows, {**keys, column: len(self.slices)}, amounts).rename({column: "slice"}).collect()

    def part(self, rows: pl.DataFrame | pl.LazyFrame, kind: str, definition: str) -> pl.LazyFrame:
        """Return counts with all columns of a part: this kind, and what is missing.

        Args:
            rows: version, day, measure, amount, and as far as they are not alike in all rows: slice (else that
                of all), definition (else the one given), bin (else 0), order (else the bin).
            kind: a kind, or `""`.
            definition: a definition, or `""`.
        """
        lazy = rows.lazy()
        missing = {
            "slice": pl.lit(self.slice_number(ALL), dtype=pl.Int64),
            "definition": pl.lit(self.definitions.index(definition), dtype=pl.Int64),
            "bin": pl.lit(0, dtype=pl.Int64),
            "order": pl.col("bin"),
        }
        for column, value in missing.items():
            if column not in lazy.collect_schema():
                lazy = lazy.with_columns(value.alias(column))
        lazy = lazy.with_columns(kind=pl.lit(self.kinds.index(kind), dtype=pl.Int64))
        return lazy.select(pl.col(*PLACE, "order", "bin", "amount").cast(pl.Int64))

    def cells(self, parts: Iterable[pl.LazyFrame]) -> pl.DataFrame:
        """Return cells from parts, sorted and without zeros; every place is in one part, and once in it."""
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
        return decoded([self.part(_NOTHING, "", ""), *coded], {**values, "day": self.days})

    def _slice_number(self, name: str) -> pl.Expr:
        values = list(self.admitted[name])
        real, missing, other = slice_texts(name, values)
        numbers = pl.Series([self.slice_number(text) for text in real], dtype=pl.Int64)
        value = pl.col(f"slice_{name}").cast(pl.String)
        known = pl.lit(numbers).gather(value.cast(pl.Enum(values), strict=False).to_physical())
        missing_or_known = pl.when(value.is_null()).then(self.slice_number(missing)).otherwise(known)
        return missing_or_known.fill_null(self.slice_number(other)).alias(f"slice_{name}")


def _number(column: str, texts: Sequence[str]) -> pl.Expr:
    return pl.col(column).cast(pl.Enum(texts)).to_physical().cast(pl.Int64)
