"""The alert over the panes of all versions together, so that a new version has the history of the others."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from evaluation_case import Era, Story, day_of, plain_config

from monitor.cells.cohort import ALL
from monitor.cells.pane import Panes, read_panes
from monitor.coverage.label_pipeline import label_pipeline


def panes_of(story: Story, version: str, days: tuple[int, int]) -> Panes:
    """Return the panes of a version."""
    cells = story.cells_after(days[1])
    return read_panes(cells, story.plan, "late", version, ALL, (day_of(days[0]), day_of(days[1])))


def test_versions_that_share_the_traffic_are_judged_as_one() -> None:
    """Two versions with half of the traffic each equal one with all of it, also over a day of 23 hours."""
    both = Story(plain_config(), [Era("v1", 0, 12, 300), Era("v2", 0, 12, 300)], seed=3)
    days = (day_of(0), day_of(11))
    parts = [panes_of(both, name, (0, 11)) for name in ("v1", "v2")]
    known = parts[0].known
    assert known.amount.sum() > 0
    summed = replace(
        parts[0],
        predictions=parts[0].predictions + parts[1].predictions,
        labels=parts[0].labels + parts[1].labels,
    )
    at_ms = both.end_ms(11)
    together = label_pipeline(parts, days, at_ms)
    assert together == label_pipeline([summed], days, at_ms)
    assert together.state == "ok"
    # eleven days of 24 hours and one of 23, minus 72 panes that are judged and one that is too young
    assert together.history == 12 * 24 - 1 - 72 - 1


def test_a_new_version_is_judged_by_the_history_of_the_one_before() -> None:
    """It loses labels from its first day on, which its own history cannot show."""
    story = Story(plain_config(), [Era("v1", 0, 20, 400), Era("v2", 20, 22, 400, labelled=lambda _day: 0.3)])
    parts = [panes_of(story, "v1", (0, 19)), panes_of(story, "v2", (20, 21))]
    days = (day_of(0), day_of(21))
    assert label_pipeline(parts, days, story.end_ms(21)).state == "degraded"
    assert label_pipeline(parts[1:], days, story.end_ms(21)).state == "ok"


def test_days_outside_the_range_are_ignored() -> None:
    """Days before and after it make no difference."""
    story = Story(plain_config(), [Era("v1", 0, 14, 200)])
    whole, part = panes_of(story, "v1", (0, 13)), panes_of(story, "v1", (3, 12))
    days = (day_of(3), day_of(12))
    assert label_pipeline([whole], days, story.end_ms(12)) == label_pipeline([part], days, story.end_ms(12))
    assert label_pipeline([whole], (date(2014, 1, 1), date(2014, 2, 1)), story.end_ms(13)).state == "no_predictions"
    assert label_pipeline([], days, 0).state == "no_predictions"


def test_an_empty_25th_pane_is_added_to_the_next_days_first_one() -> None:
    """Both end at the same instant."""
    story = Story(plain_config(), [Era("v1", 0, 8, 2_000)])
    panes = panes_of(story, "v1", (0, 7))
    assert panes.predictions[:, 24].sum() == 0
    found = label_pipeline([panes], (day_of(0), day_of(7)), story.end_ms(7))
    # there would be a broken hour if its labels were counted separately from its predictions
    assert (found.state, found.broken_end_ms) == ("ok", ())
    assert panes.end_ms[0, 24] == panes.end_ms[1, 0]
    assert np.all(np.diff(np.unique(panes.end_ms)) > 0)
    assert day_of(7) - day_of(0) == timedelta(days=7)
