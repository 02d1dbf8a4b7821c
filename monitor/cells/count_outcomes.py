"""Counts the outcomes of one kind: labels by age, scores and losses by class, and outcomes closed without a label."""

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from monitor.cells.bins import AGES_MAX, OVERFLOW_AGE_MS, SCORE_BINS
from monitor.cells.codebook import Codebook
from monitor.cells.exact_sum import FIRST_LIMBS
from monitor.cells.measure import measure_text
from monitor.cells.packing import sum_by
from monitor.cells.pane import PANES_MAX
from monitor.cells.plan import CellPlan, KindPlan
from monitor.cells.revisions import FINAL, LABELLED, revised_column
from monitor.cells.scoring import RANK_BIN, SLICE_RANK_BIN, Scoring, by_weight, is_probability, score_bin, score_labels
from schemas.base.status import Status

__all__ = ["count_outcomes"]

_STATES = ("labels", Status.EXPIRED.value, Status.RETRACTED.value)
_SCORED = "labelled_scored"


def count_outcomes(plan: CellPlan, codebook: Codebook, kind: KindPlan, states: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Yield encoded cells of the outcomes of one kind, each row counted `sign` times.

    Args:
        plan: with the admitted slice values and classes.
        codebook: the one that the rows are encoded with.
        kind: of all rows.
        states: encoded rows of `states_between`.
    """
    first_us, known_us, replaced_us = (
        (pl.col(name) - pl.col("predicted_at")).dt.total_microseconds()
        for name in ("first_known_at", "known_at", "replaced_at")
    )
    ages = len(kind.evaluate_at_ms)
    closed = [pl.col("status") == status for status in _STATES[1:]]
    state = pl.when(LABELLED).then(0).when(closed[0]).then(1).when(closed[1]).then(2)
    columns = ["version", "day", "definition", "pane", "sign", "value", "value_class", "output", "output_class"]
    columns += ["weight"] if kind.is_weighted else []
    columns += [RANK_BIN, SLICE_RANK_BIN, *(f"slice_{name}" for name in plan.slices)]
    columns += [revised_column(FINAL), *(revised_column(age) for age in kind.evaluate_at_ms)]
    rows = states.select(
        *columns,
        state=state,
        edge=_edge_index(kind.age_edges_ms, first_us).fill_null(0),
        from_age=_edge_index(kind.evaluate_at_ms, known_us),
        until_age=pl.when(replaced_us.is_null())
        .then(ages + 1)
        .otherwise(_edge_index(kind.evaluate_at_ms, replaced_us)),
        is_early=first_us < 0,
    ).filter(pl.col("state").is_not_null())
    newest = rows.filter(pl.col("until_age") > ages)
    yield from _by_state(plan, codebook, kind, newest)
    yield from _revised(plan, codebook, kind, rows)
    scoring = score_labels(plan, kind, rows.filter(pl.col("state") == 0))
    yield from _by_counter(plan, codebook, kind, scoring)
    yield from _weights(plan, codebook, kind, scoring)
    yield from _sums(plan, codebook, kind, scoring)
    yield from _by_pane(codebook, kind, newest, scoring)
    if kind.task == "binary":
        yield from _errors_by_pane(codebook, kind, scoring)


def _by_state(plan: CellPlan, codebook: Codebook, kind: KindPlan, rows: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Count labels by age, early labels, expired and retracted outcomes."""
    ages = len(kind.age_edges_ms)
    age = pl.when(pl.col("state") == 0, "is_early").then(ages).when(pl.col("state") == 0).then("edge").otherwise(0)
    keys = codebook.sizes | {"state": len(_STATES), "age": ages + 1}
    table = codebook.sum_by_slices(rows.with_columns(age=age), keys, ["sign"], plan.slices)
    labels = table.filter(pl.col("state") == 0).with_columns(
        bin_order=pl.when(pl.col("age") == ages).then(0).otherwise("age")
    )
    edges = pl.lit(pl.Series(kind.age_edges_ms, dtype=pl.Int64))
    by_edge = sum_by(labels, _cohort(codebook) | {"bin_order": ages}, ["sign"]).with_columns(
        bin=edges.gather(pl.col("bin_order")), measure=codebook.measure("labels")
    )
    yield _encoded(codebook, kind, by_edge)
    early = labels.filter(pl.col("age") == ages).drop("bin_order")
    yield _encoded(codebook, kind, early.with_columns(measure=codebook.measure("early")))
    for index, name in enumerate(_STATES[1:], start=1):
        closed = table.filter(pl.col("state") == index)
        yield _encoded(codebook, kind, closed.with_columns(measure=codebook.measure(name)))


def _revised(plan: CellPlan, codebook: Codebook, kind: KindPlan, rows: pl.DataFrame) -> Iterator[pl.LazyFrame]:
    """Count changes after the horizon, and after each fixed age."""
    names = {revised_column(FINAL): None, **{revised_column(age): age for age in kind.evaluate_at_ms}}
    changed = rows.filter(pl.any_horizontal(pl.col(name) != 0 for name in names))
    if changed.is_empty():
        return
    signed = changed.with_columns(pl.col(name) * pl.col("sign") for name in names)
    table = codebook.sum_by_slices(signed, codebook.sizes, list(names), plan.slices)
    for name, age_ms in names.items():
        measure = codebook.measure(measure_text("revised", age_ms=age_ms))
        yield _encoded(codebook, kind, table.with_columns(sign=pl.col(name), measure=measure))


def _by_counter(plan: CellPlan, codebook: Codebook, kind: KindPlan, scoring: Scoring) -> Iterator[pl.LazyFrame]:
    """Count scored labels by counter: as they were of record at each age, and as they are now."""
    if scoring.rows.is_empty():
        return
    keys = codebook.sizes | {"counter": scoring.counters_max} | _ages(kind)
    by_counter = _by_slices(plan, codebook, scoring.rows, keys, ["sign"])
    table, targets = scoring.counts(by_counter)
    numbers = pl.Series([bin_ for _, _, bin_ in targets], dtype=pl.Int64)
    bins, orders = pl.lit(numbers), pl.lit(numbers.rank("dense").cast(pl.Int64))
    for age_ms, known in _by_age(kind, table):
        names = [measure_text(name, age_ms=age_ms, of_class=of_class) for name, of_class, _ in targets]
        measures = pl.lit(pl.Series([codebook.measure(name) for name in names], dtype=pl.Int64))
        counts = sum_by(known, _cohort(codebook) | {"target": len(targets)}, ["sign"])
        at = pl.col("target")
        yield _encoded(
            codebook,
            kind,
            counts.with_columns(measure=measures.gather(at), bin=bins.gather(at), bin_order=orders.gather(at)),
        )
    for age_ms, known in _by_age(kind, by_counter.filter(scoring.is_usable)):
        scored = codebook.measure(measure_text(_SCORED, age_ms=age_ms))
        yield _encoded(codebook, kind, sum_by(known, _cohort(codebook), ["sign"]).with_columns(measure=scored))


def _by_slices(
    plan: CellPlan, codebook: Codebook, rows: pl.DataFrame, keys: Mapping[str, int], amounts: Sequence[str]
) -> pl.DataFrame:
    """Sum amounts by counter and slice."""
    if "slice_counter" not in rows.columns or (rows["counter"] == rows["slice_counter"]).all():
        return codebook.sum_by_slices(rows, keys, amounts, plan.slices)
    others = rows.with_columns(counter=pl.col("slice_counter"))
    parts = [codebook.sum_by_slice(rows, keys, amounts, None)]
    parts += [codebook.sum_by_slice(others, keys, amounts, name) for name in plan.slices]
    return pl.concat(part.select(*keys, "slice", *amounts) for part in parts)


def _weights(plan: CellPlan, codebook: Codebook, kind: KindPlan, scoring: Scoring) -> Iterator[pl.LazyFrame]:
    """Add up the weights of scored labels by counter, as `_by_counter` counts them."""
    usable, weight = scoring.rows.filter(scoring.is_usable), scoring.weight
    if usable.is_empty() or weight is None or not weight.columns:
        return
    columns = list(weight.columns.values())
    signed = usable.with_columns(pl.col(name) * pl.col("sign") for name in columns)
    keys = codebook.sizes | {"counter": scoring.counters_max} | _ages(kind)
    factors = dict.fromkeys(weight.factors, FIRST_LIMBS)
    table, targets = scoring.counts(_by_slices(plan, codebook, signed, keys | factors, columns))
    numbers = pl.Series([bin_ for _, _, bin_ in targets], dtype=pl.Int64)
    bins, orders = pl.lit(numbers), pl.lit(numbers.rank("dense").cast(pl.Int64))
    cohort, place = _cohort(codebook) | {"target": len(targets)}, pl.col("target") * weight.limbs_max + pl.col("limb")
    for age_ms, known in _by_age(kind, table):
        keys = cohort | {"limb": weight.limbs_max}
        limbs = sum_by(weight.limbs(known, list(cohort)), keys, ["amount"]).collect()
        found = limbs.select(place.unique().sort()).to_series()
        codes = []
        for target, limb in (divmod(one, weight.limbs_max) for one in found):
            name, of_class, _ = targets[target]
            text = measure_text(by_weight(name), limb=weight.first_limb + limb, age_ms=age_ms, of_class=of_class)
            codes.append(codebook.measure(text))
        measure = pl.lit(pl.Series(codes, dtype=pl.Int64)).gather(pl.lit(found).search_sorted(place))
        at = pl.col("target")
        yield _encoded(
            codebook, kind, limbs.with_columns(measure=measure, bin=bins.gather(at), bin_order=orders.gather(at))
        )


def _sums(plan: CellPlan, codebook: Codebook, kind: KindPlan, scoring: Scoring) -> Iterator[pl.LazyFrame]:
    """Add up the exact sums of scored labels: as they were of record at each age, and as they are now."""
    usable = scoring.rows.filter(scoring.is_usable)
    if usable.is_empty() or not scoring.columns:
        return
    signed = usable.with_columns(pl.col(name) * pl.col("sign") for name in scoring.columns)
    keys = codebook.sizes | _ages(kind) | scoring.factors
    table = codebook.sum_by_slices(signed, keys, scoring.columns, plan.slices)
    cohort = _cohort(codebook)
    for age_ms, known in _by_age(kind, table):
        for one in scoring.sums:
            limbs = sum_by(one.limbs(known, list(cohort)), cohort | {"limb": one.limbs_max}, ["amount"]).collect()
            found = limbs.get_column("limb").unique().sort()
            codes = [
                codebook.measure(measure_text(one.name, limb=one.first_limb + limb, age_ms=age_ms)) for limb in found
            ]
            at = pl.lit(found).search_sorted(pl.col("limb"))
            measure = pl.lit(pl.Series(codes, dtype=pl.Int64)).gather(at)
            yield _encoded(codebook, kind, limbs.with_columns(measure=measure))


def _by_age(kind: KindPlan, table: pl.DataFrame) -> Iterator[tuple[int | None, pl.DataFrame]]:
    """Yield the rows that were of record at each fixed age, and those that are now (age None)."""
    for index, age_ms in enumerate((*kind.evaluate_at_ms, None)):
        yield age_ms, table.filter(pl.col("from_age") <= index, pl.col("until_age") > index)


def _ages(kind: KindPlan) -> dict[str, int]:
    """Return the columns that tell at which ages a state was of record, with their numbers of values."""
    return {"from_age": len(kind.evaluate_at_ms) + 1, "until_age": len(kind.evaluate_at_ms) + 2}


def _by_pane(codebook: Codebook, kind: KindPlan, rows: pl.DataFrame, scoring: Scoring) -> Iterator[pl.LazyFrame]:
    """Count labels by pane and age; of binary kinds also by class and score bin, and closed outcomes by score bin."""
    panes = PANES_MAX if kind.has_hourly_panes else 1
    ages = len(kind.age_edges_ms)
    delays = [] if kind.delay_by is None else [kind.delay_by]
    columns = ["version", "day", "definition", *(f"slice_{name}" for name in delays), "pane", "edge", "counter", "sign"]
    unscored = 2 * SCORE_BINS
    newest = scoring.rows.filter(pl.col("until_age") > len(kind.evaluate_at_ms))
    counter = pl.col("score_counter") if kind.task == "binary" else pl.lit(unscored)
    labelled = newest.with_columns(counter=counter)
    counted = [labelled.select(pl.col(columns).cast(pl.Int64))]
    if kind.task == "binary":
        closed = rows.filter(pl.col("state") > 0, is_probability(pl.col("output")))
        closed = closed.with_columns(counter=unscored + 1 + score_bin(kind, pl.col("output")), edge=pl.lit(0))
        counted.append(closed.select(pl.col(columns).cast(pl.Int64)))
    every = pl.concat(counted)
    if panes == 1:
        every = every.with_columns(pane=pl.lit(0, dtype=pl.Int64))
    keys = codebook.sizes | {"pane": panes, "counter": 3 * SCORE_BINS + 1, "edge": ages}
    table = codebook.sum_by_slice(every, keys, ["sign"], kind.delay_by)
    counter, pane, edge = pl.col("counter"), pl.col("pane"), pl.col("edge")
    labels = sum_by(table.filter(counter <= unscored), _cohort(codebook) | {"pane": panes, "edge": ages}, ["sign"])
    by_age = labels.with_columns(bin=pane * AGES_MAX + edge, measure=codebook.measure("pane_labels"))
    yield _encoded(codebook, kind, by_age)
    if kind.task == "binary":
        label_bin = pane * SCORE_BINS + counter % SCORE_BINS
        measures = pl.Series([codebook.measure(f"pane_score_{truth}") for truth in (0, 1)], dtype=pl.Int64)
        by_class = table.filter(counter < unscored).with_columns(
            bin=label_bin * AGES_MAX + edge, measure=pl.lit(measures).gather(counter // SCORE_BINS)
        )
        yield _encoded(codebook, kind, by_class)
        closed_bin = pane * SCORE_BINS + counter - unscored - 1
        by_score = table.filter(counter > unscored).with_columns(
            bin=closed_bin, measure=codebook.measure("pane_closed")
        )
        yield _encoded(codebook, kind, by_score)


def _errors_by_pane(codebook: Codebook, kind: KindPlan, scoring: Scoring) -> Iterator[pl.LazyFrame]:
    """Count right and wrong decisions by pane: by what was of record at each age, and by what is now."""
    panes = PANES_MAX if kind.has_hourly_panes else 1
    truth, score = pl.col("score_counter") // SCORE_BINS, pl.col("score_counter") % SCORE_BINS
    is_wrong = (score >= kind.positive_from) != (truth == 1)
    decided = scoring.rows.filter(pl.col("score_counter") < 2 * SCORE_BINS).with_columns(wrong=is_wrong.cast(pl.Int64))
    if panes == 1:
        decided = decided.with_columns(pane=pl.lit(0, dtype=pl.Int64))
    for age_ms, rows in _by_age(kind, decided):
        counts = codebook.sum_by_slice(rows, codebook.sizes | {"pane": panes, "wrong": 2}, ["sign"], kind.delay_by)
        measure = codebook.measure(measure_text("pane_error", age_ms=age_ms))
        yield _encoded(codebook, kind, counts.with_columns(bin=pl.col("pane") * 2 + pl.col("wrong"), measure=measure))


def _cohort(codebook: Codebook) -> dict[str, int]:
    return codebook.sizes | {"slice": len(codebook.slices)}


def _encoded(codebook: Codebook, kind: KindPlan, rows: pl.DataFrame | pl.LazyFrame) -> pl.LazyFrame:
    return codebook.encoded_cells(rows.lazy().rename({"sign": "amount"}, strict=False), kind.name, kind.definition)


def _edge_index(edges_ms: Sequence[int], age_us: pl.Expr) -> pl.Expr:
    """Return the index of the least edge at or above the age, or the number of edges where there is none."""
    edges = pl.lit(pl.Series(edges_ms, dtype=pl.Int64) * 1_000)
    return edges.search_sorted(age_us.clip(upper_bound=OVERFLOW_AGE_MS * 1_000), side="left").cast(pl.Int64)
