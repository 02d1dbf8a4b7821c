"""The diff report of a backfill for a terminal: tables and sentences that fit its width.

Long names are shortened, numbers never are. `monitor.backfill` computes what is shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from monitor.backfill.time_shift import shift_text
from schemas.base.figures import age, count, number, percent, plain_text, share, signed
from schemas.events.backfill import Verdict
from schemas.events.backfill_diff import BackfillDiff
from truthloop.terminal.tables import plain_table
from truthloop.text.rulings import SCOPE_TITLES, largest_flips

__all__ = ["report_text"]

WIDTH_MIN = 72
_COHORTS_MAX = 12
_ROWS_MAX = 10
_MATRIX_MAX = 4
"""Labels of a matrix that fits into a terminal; of a larger matrix the largest flips are listed."""
_NAME_MIN = 8
_TEXT_MAX = 2_000
"""Characters of a name that are read."""
_GAP = 2

Row = Sequence[str]


def report_text(
    diff: BackfillDiff, width: int = 80, *, verdict: Verdict | None = None, reasons: Iterable[str] = ()
) -> str:
    """Return the report as plain text, without colours.

    Args:
        diff: the report's content.
        width: columns of the terminal; at least 72 are used.
        verdict: shown if given.
        reasons: of the verdict, one sentence each.
    """
    width = max(width, WIDTH_MIN)
    out = StringIO()
    console = Console(
        file=out, width=width, color_system=None, force_terminal=False, highlight=False, emoji=False, markup=False
    )
    for part in _parts(diff, width, verdict, reasons):
        console.print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _parts(diff: BackfillDiff, width: int, verdict: Verdict | None, reasons: Iterable[str]) -> Iterator[RenderableType]:
    episode = diff.episode
    causes = ", ".join(episode.causes)
    yield _line(f"Backfill {episode.id} ({causes}) of {_fit(episode.kind, 40)}")
    yield _line(f"Definition {_fit(episode.definition, 60)}; the config's is {_fit(diff.definition, 60)}.")
    if episode.batch is not None:
        yield _line(f"Batch {_fit(episode.batch, 60)}.")
    if verdict is not None:
        yield _line(f"\n{verdict.value.upper()}")
        yield from (_line(f"- {plain_text(reason)}") for reason in reasons)
    yield _line(_summary(diff))
    if diff.shift is not None:
        yield _line(f"{diff.shift.labels:,} labels tell known ones again with another time: {shift_text(diff.shift)}.")
    yield from _flips(diff, width)
    yield from _cohorts(diff, width)
    yield from _labels(diff, width)
    yield from _metrics(diff, width)
    yield from _ages(diff, width)
    slices = [
        (f"{row.name}={'∅' if row.value is None else row.value}", count(row.touched), count(row.flips))
        for row in diff.slices
    ]
    yield from _table("Slices", ("slice:", "touched", "flips"), slices[:_ROWS_MAX], width)
    yield _line(f"\nRetrains whose data sets are affected: {len(diff.decisions):,}")
    for retrain in diff.decisions:
        yield _line(f"  {retrain.decision}  {_fit(retrain.dataset_uri or '', 300)}".rstrip())
    yield _line(f"\n{plain_text(diff.approving)}\n{plain_text(diff.rejecting)}")
    yield _line(f"sha256 {diff.sha256()}")


def _summary(diff: BackfillDiff) -> str:
    touched = diff.touched
    days = (
        f"{diff.days:,} days" if diff.first_day is None else f"{diff.days:,} days, {diff.first_day} to {diff.last_day}"
    )
    names = ", ".join(_fit(version, 24) for version in diff.versions[:5])
    more = diff.versions_touched - len(diff.versions[:5])
    versions = f"{names} and {more:,} more" if more > 0 else names or "none"
    return (
        f"\nTouches {touched.predictions:,} predictions in {diff.cohorts_touched:,} cohorts ({days}; versions: "
        f"{versions}): {touched.new:,} labels new, {touched.changed:,} changed, {touched.identical:,} identical, "
        f"{touched.taken_away:,} removed, {touched.unlabelled:,} without a label; {touched.ineligible:,} more are "
        "not eligible."
    )


def _flips(diff: BackfillDiff, width: int) -> Iterator[RenderableType]:
    matrix = diff.matrix
    if len(matrix.labels) <= _MATRIX_MAX:
        names = [_fit(label, 9) for label in matrix.labels]
        rows = [
            (_label(label), *(count(amount) for amount in counts))
            for label, counts in zip(matrix.labels, matrix.counts, strict=True)
        ]
        yield from _table("Labels before (down) and after (across)", ("label:", *map(_label, names)), rows, width)
    else:
        pairs = [
            (f"{_fit(_label(before), 26)} → {_fit(_label(after), 26)}", count(n))
            for before, after, n in largest_flips(matrix, _ROWS_MAX)
        ]
        yield from _table("Largest changes", ("label before and after:", "predictions"), pairs, width)
    mature = f"{diff.mature_flips:,} of {diff.mature_labels:,} mature labels flip ({share(diff.flip_share_of_mature)})"
    all_labels = f"{diff.total.flips:,} of all {diff.total.labelled_before:,} ({share(diff.flip_share)})"
    yield _line(f"\nIn these cohorts {mature}, {all_labels}.")
    pair = diff.asymmetry
    if pair is not None:
        counts = f"{pair.to_end:,} from {_fit(pair.start, 24)} to {_fit(pair.end, 24)}, {pair.to_start:,} back"
        yield _line(f"Asymmetry: {counts}; exact binomial p = {pair.p_value:.2g}.")


def _cohorts(diff: BackfillDiff, width: int) -> Iterator[RenderableType]:
    rows = [
        (
            "all" if row.day is None else f"{row.day} {row.version}",
            count(row.predictions),
            percent(row.coverage_before),
            percent(row.coverage_after),
            count(row.flips),
            "yes" if row.is_mature else "no",
        )
        for row in (diff.total, *diff.cohorts[:_COHORTS_MAX])
    ]
    columns = ("cohort:", "predictions", "before %", "after %", "flips", "mature:")
    yield from _table("Coverage, the worst cohorts", columns, rows, width)
    if (hidden := diff.cohorts_touched - _COHORTS_MAX) > 0:
        yield _line(f"{hidden:,} more cohorts; the JSON has the worst {len(diff.cohorts):,}.")


def _labels(diff: BackfillDiff, width: int) -> Iterator[RenderableType]:
    is_mean = diff.task == "regression"
    worst = sorted(diff.labels, key=lambda row: (-abs(row.effect or 0.0), row.scope, row.label))
    shown = [row for row in diff.labels if row in worst[:_ROWS_MAX]]
    written = number if is_mean else share
    rows = [
        (
            f"{_label(row.label)}, {SCOPE_TITLES[row.scope]}",
            written(row.before),
            written(row.after),
            signed(row.effect),
        )
        for row in shown
    ]
    effect = "Cohen's d" if is_mean else "Cohen's h"
    yield from _table("Mean label" if is_mean else "Prevalence", ("label:", "before", "after", effect), rows, width)
    rows = [
        (f"{row.of}s, {SCOPE_TITLES[row.scope]}", count(row.before), count(row.after), signed(row.excess_psi))
        for row in diff.distributions
    ]
    yield from _table("Distributions", ("of:", "rows before", "rows after", "excess PSI"), rows, width)


def _metrics(diff: BackfillDiff, width: int) -> Iterator[RenderableType]:
    printed: dict[tuple[Row, ...], str] = {}
    for scope, title in SCOPE_TITLES.items():
        rows = [
            (
                metric.name if metric.bound is None else f"{metric.name} (±{number(metric.bound)})",
                number(metric.before),
                number(metric.after),
                signed(None if metric.before is None or metric.after is None else metric.after - metric.before),
                f"{count(metric.n_before)} → {count(metric.n_after)}",
            )
            for metric in diff.metrics
            if metric.scope == scope
        ]
        if (same := printed.get(tuple(rows))) is not None:
            yield _line(f"\nMetrics: {title}: the same as of {same}.")
            continue
        printed[tuple(rows)] = title
        yield from _table(f"Metrics: {title}", ("metric:", "before", "after", "change", "labels"), rows, width)
    chance = diff.random_flips
    if chance is not None and chance.metric == "accuracy":
        flips = f"{share(chance.flip_share)} of labels flipping at random would change it by"
        yield _line(f"\nAccuracy changes by {signed(chance.change)}; {flips} {signed(-chance.expected_drop)}.")
    elif chance is not None:
        yield _line(f"\nMAE changes by {signed(100 * chance.change)} % of itself.")


def _ages(diff: BackfillDiff, width: int) -> Iterator[RenderableType]:
    delays = diff.delays
    rows = [
        ("without the episode", age(delays.median_without_ms), age(delays.p95_without_ms)),
        ("with the episode", age(delays.median_with_ms), age(delays.p95_with_ms)),
    ]
    yield from _table("Age of first labels", ("", "half by", "95 % by"), rows, width)


def _table(title: str, columns: Row, rows: Sequence[Row], width: int) -> Iterator[RenderableType]:
    """Yield a title and a table whose first column takes the width that the others leave; nothing without rows."""
    if not rows:
        return
    heads = [column.removesuffix(":") for column in columns]
    others = list(zip(heads, *rows, strict=True))[1:]
    widths = [max(map(cell_len, texts)) for texts in others]
    first_width = max(width - sum(widths) - _GAP * len(columns), _NAME_MIN)
    table = plain_table(columns[0] if columns[0].endswith(":") else f"{columns[0]}:", *columns[1:])
    for row in rows:
        table.add_row(Text(_fit(row[0], first_width)), *map(Text, row[1:]))
    yield _line(f"\n{title}")
    yield table


def _line(text: str) -> Text:
    return Text(text, overflow="fold")


def _label(text: str) -> str:
    return {"*none": "no label", "*other": "other"}.get(text, text)


def _fit(text: str, cells: int) -> str:
    """Return text of the data with control characters escaped, shortened in the middle to `cells` columns."""
    plain = plain_text(text[:_TEXT_MAX])
    if cell_len(plain) <= cells and len(text) <= _TEXT_MAX:
        return plain
    tail = ""
    for character in reversed(plain):
        if cell_len(character + tail) > cells // 4:
            break
        tail = character + tail
    head, rest = "", cells - cell_len(tail) - 1
    for character in plain:
        if cell_len(head + character) > rest:
            break
        head += character
    return f"{head}…{tail}"
