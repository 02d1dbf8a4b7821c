"""Labels that stop during a day are found before it ends, by what was known then and nothing later."""

from functools import cache

import numpy as np
import pytest
from cell_cases import HOUR_MS, OWN
from evaluation_case import Era, Story, day_of, plain_config
from frame_cells import FrameCells

from monitor.coverage.source import LabelMemory, SourceArrivals
from monitor.label_watch import Interruption, LabelWatch

DAY = 40
"""Four labels of five are lost from its beginning on."""


@cache
def story(horizon: str = "1d", delay_hours: int = 2) -> Story:
    """Three hundred predictions a day, in New York, with labels within some hours."""
    labels = {"late": {"definition": OWN["late"], "horizon": horizon, "retain": "30d"}}
    era = Era("v1", 0, DAY + 2, labelled=lambda day: 1.0 if day < DAY else 0.2)
    return Story(plain_config(labels=labels), [era], delay_ms=delay_hours * HOUR_MS)


def watch_at(of: Story, at_ms: int, first: int = DAY) -> LabelWatch:
    """Return the watch over the cells as of a time, for some days up to the one after the loss began."""
    return LabelWatch(FrameCells(of.cells(at_ms)), of.plan, "late", (day_of(first), day_of(DAY + 1)))


def looks(watch: LabelWatch, arrivals: dict[str, SourceArrivals], after_ms: int, until_ms: int) -> list[Interruption]:
    """Look at every instant, each time with what was found before."""
    found: list[Interruption] = []
    memory = LabelMemory(frozenset({"ledger"}))
    for at_ms in watch.instants(after_ms, until_ms):
        one = watch.look(at_ms, arrivals, memory)
        if one is not None:
            memory = LabelMemory(memory.sources, faults=tuple(one.faults))
            found.append(one)
    return found


def test_a_loss_is_found_on_the_day_on_which_it_begins_and_told_once() -> None:
    """The loss of all labels of the kind is no news of the slices; the source that is known loses as much."""
    begins_ms, ends_ms = story().end_ms(DAY - 1), story().end_ms(DAY + 1)
    found = looks(watch_at(story(), ends_ms), story().arrivals(), begins_ms, ends_ms)
    assert begins_ms < found[0].at_ms <= begins_ms + 12 * HOUR_MS
    told = [(one.check, one.scope, one.subject) for one in found[-1].faults]
    assert len(told) == len(set(told))
    assert ("loss", "kind", "late") in told
    assert all("labels are missing" in finding.text for one in found for finding in one.findings)
    assert sum(finding.subject == "late" for one in found for finding in one.findings) == 1


def test_a_look_in_a_replay_is_the_one_that_was_made_then() -> None:
    """Cells of later labels and predictions, and later arrivals, change nothing."""
    begins_ms, ends_ms = story().end_ms(DAY - 1), story().end_ms(DAY + 1)
    [first, *_] = looks(watch_at(story(), ends_ms), story().arrivals(), begins_ms, ends_ms)
    then = {name: one.between(0, first.at_ms) for name, one in story().arrivals().items()}
    [lived] = looks(watch_at(story(), first.at_ms), then, begins_ms, first.at_ms)
    assert lived == first


def test_a_silence_is_found_within_hours_and_no_source_becomes_known() -> None:
    """A source that says something every ten minutes stops at four; another that is not known yet stops, too."""
    of = story()
    begins_ms = of.end_ms(DAY - 11)
    stops = (begins_ms + 4 * HOUR_MS) // 60_000
    minutes = np.arange(stops - 10 * 24 * 60, stops, 10)
    arrivals = {name: SourceArrivals(minutes) for name in ("ledger", "unknown")}
    found = looks(watch_at(of, of.end_ms(DAY - 10), DAY - 10), arrivals, begins_ms, of.end_ms(DAY - 10))
    [fault] = [one for each in found for one in each.faults]
    assert (fault.check, fault.subject, fault.since) == ("silence", "ledger", (int(minutes[-1]) + 1) * 60_000)
    assert found[0].at_ms <= begins_ms + 12 * HOUR_MS


@pytest.mark.parametrize(
    ("horizon", "delay_hours", "count"), [("1d", 2, 14), ("13d", 40, 14), ("13d", 60, 0), ("20d", 2, 0)]
)
def test_labels_are_looked_at_between_days_where_half_of_them_take_less_than_a_day(
    horizon: str, delay_hours: int, count: int
) -> None:
    """Seven times between two ends of days, and not at these; not at all where the kind is counted by the day."""
    of = story(horizon, delay_hours)
    ends_ms = of.end_ms(DAY + 1)
    instants = [*watch_at(of, ends_ms).instants(of.end_ms(DAY - 1), ends_ms)]
    assert len(instants) == count
    assert of.end_ms(DAY) not in instants
    assert instants == sorted(set(instants))
