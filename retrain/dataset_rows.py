"""Row counts of a data set: in the detail of a log entry, and as text. Pure.

The request is built from the log alone, so the log has the counts, one value each: `holdout_rows`, `left_out:REASON`,
and `approved:EPISODE:PART` of the backfills that were approved since the retrain before.
"""

from collections.abc import Mapping, Sequence

from schemas.events.dataset_rows import BackfillRows, DatasetRows, RowCounts
from schemas.events.retrain_request import APPROVED_MAX

__all__ = ["approved_rows", "approved_texts", "lack_text", "left_out_text", "rows_from_detail", "rows_to_detail"]

Detail = Mapping[str, str | int | float | None]

_LEFT_OUT = "left_out:"
_APPROVED = "approved:"
_NAMED_MAX = 3


def approved_rows(counts: DatasetRows, approved: Sequence[str]) -> list[BackfillRows]:
    """Return the counts of approved backfills, those with the most left out first, at most `APPROVED_MAX`.

    Args:
        counts: of the data set.
        approved: ids of the backfills. One that has labelled no prediction has no counts.
    """
    own = [one for one in counts.backfills if one.episode in approved]
    return sorted(own, key=lambda one: (-sum(one.left_out.values()), one.episode))[:APPROVED_MAX]


def rows_to_detail(counts: RowCounts, approved: Sequence[BackfillRows]) -> dict[str, str | int | float | None]:
    """Return the counts as detail of a log entry.

    >>> counts = RowCounts(rows=7, holdout_rows=2, left_out={"pending": 1})
    >>> rows_to_detail(counts, [])
    {'rows': 7, 'holdout_rows': 2, 'left_out:pending': 1}
    """
    found: dict[str, str | int | float | None] = dict(_by_part(counts, _LEFT_OUT))
    for one in approved:
        found |= {f"{_APPROVED}{one.episode}:{name}": count for name, count in _by_part(one).items()}
    return found


def rows_from_detail(detail: Detail) -> tuple[dict[str, int], list[BackfillRows]]:
    """Return what is left out of the data set, by reason, and the counts of approved backfills.

    >>> rows_from_detail({"rows": 7, "holdout_rows": 2, "left_out:pending": 1})
    ({'pending': 1}, [])
    """
    left_out: dict[str, int] = {}
    by_episode: dict[str, dict[str, int]] = {}
    for name, value in detail.items():
        if name.startswith(_LEFT_OUT):
            left_out[name.removeprefix(_LEFT_OUT)] = int(value or 0)
        elif name.startswith(_APPROVED):
            episode, part = name.removeprefix(_APPROVED).split(":")
            by_episode.setdefault(episode, {})[part] = int(value or 0)
    approved = [
        BackfillRows(episode=episode, rows=parts.pop("rows"), holdout_rows=parts.pop("holdout_rows"), left_out=parts)
        for episode, parts in by_episode.items()
    ]
    return left_out, approved


def left_out_text(left_out: Mapping[str, int]) -> str:
    """Return why predictions are left out, the most frequent reason first.

    >>> left_out_text({"pending": 4, "purged_at_the_split": 1_200})
    '1,200 purged at the split, 4 pending'
    """
    ordered = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in ordered)


def lack_text(counts: RowCounts, holdout_ms: int) -> str:
    """Return what a data set lacks to be trained on, and what is left out of it; '' if it lacks nothing.

    >>> lack_text(RowCounts(rows=7, holdout_rows=0, left_out={"pending": 4}), 86_400_000)
    'no holdout rows; left out: 4 pending'
    """
    lacks_holdout = holdout_ms > 0 and counts.holdout_rows == 0
    part = "training" if counts.rows == 0 else "holdout" if lacks_holdout else ""
    if not part:
        return ""
    text = f"no {part} rows"
    return f"{text}; left out: {left_out_text(counts.left_out)}" if counts.left_out else text


def approved_texts(approved: Sequence[BackfillRows]) -> list[str]:
    """Return what has become of the predictions that approved backfills have labelled.

    >>> rows = BackfillRows(episode=f"bf-{7:032x}", rows=5, holdout_rows=0, left_out={"not_mature": 3})
    >>> for part in approved_texts([rows])[0].split(", ", 1):
    ...     print(part)
    of 8 predictions that backfill bf-00000000000000000000000000000007 has labelled
    5 are training rows and 0 are holdout rows; left out: 3 not mature
    """
    texts = []
    for one in approved[:_NAMED_MAX]:
        text = f"of {one.predictions:,} predictions that backfill {one.episode} has labelled, {one.rows:,} are "
        text += f"training rows and {one.holdout_rows:,} are holdout rows"
        texts.append(f"{text}; left out: {left_out_text(one.left_out)}" if one.left_out else text)
    if (more := len(approved) - _NAMED_MAX) > 0:
        texts.append(f"{more:,} more backfills are in the manifest")
    return texts


def _by_part(counts: RowCounts, prefix: str = "") -> dict[str, int]:
    left_out = {f"{prefix}{reason}": count for reason, count in counts.left_out.items()}
    return {"rows": counts.rows, "holdout_rows": counts.holdout_rows, **left_out}
