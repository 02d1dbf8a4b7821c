"""The table of ages: one row per label kind, columns aligned, nothing cut off."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.base.duration import format_duration, parse_duration_ms
from schemas.config.loop import LoopConfig
from truthloop.config.age_table import age_table

FRAUD = {"expected_delay": "30d", "horizon": "120d", "retain": "200d", "early": "1d"}
CLICK = {"horizon": "30m", "retain": "1h", "early": "0s"}


def config(ages: list[str], **labels: dict[str, str]) -> LoopConfig:
    """Return a config with label kinds of these ages."""
    document: dict[str, Any] = {
        "version": 1,
        "loop": "test",
        "predictions": {"outputs": {kind: {"task": "binary"} for kind in labels}},
        "labels": {kind: {"definition": "v1", **label} for kind, label in labels.items()},
        "cohorts": {"ages": ages},
    }
    return LoopConfig.model_validate(document)


def test_the_table_has_a_row_for_each_kind() -> None:
    """As a person sees it; an age that a kind lacks is left empty."""
    assert list(age_table(config(["1d", "7d", "30d"], fraud=FRAUD, click=CLICK))) == [
        "kind   early  expected delay  horizon  retain  cohort ages",
        "fraud  1d     30d             120d     200d    1d 7d 30d",
        "click                         30m      1h      1d 7d 30d",
    ]


def test_columns_that_are_empty_for_every_kind_are_left_out() -> None:
    """Neither `early` nor `expected_delay` is set."""
    assert list(age_table(config(["10m"], click=CLICK))) == [
        "kind   horizon  retain  cohort ages",
        "click  30m      1h      10m",
    ]


def test_delays_of_a_sample_stand_next_to_the_ages_of_the_config() -> None:
    """Also where only one kind has any, and where labels came before their prediction."""
    seen = {"click": {"seen p50": parse_duration_ms("8m"), "seen p90": -parse_duration_ms("1h")}}
    assert list(age_table(config(["10m"], fraud=FRAUD, click=CLICK), seen)) == [
        "kind   early  expected delay  horizon  retain  seen p50  seen p90  cohort ages",
        "fraud  1d     30d             120d     200d                        10m",
        "click                         30m      1h      8m        -1h       10m",
    ]


DURATION = st.integers(1, 200 * 86_400_000) | st.sampled_from([60_000, 3_600_000, 86_400_000])


@given(horizon=DURATION, more=DURATION, early=DURATION, ages=st.lists(DURATION, min_size=1, max_size=25, unique=True))
def test_every_age_is_shown_under_its_title(horizon: int, more: int, early: int, ages: list[int]) -> None:
    """Whatever the lengths of the texts; only ASCII, without trailing spaces."""
    label = {"horizon": format_duration(horizon), "retain": format_duration(horizon + more)}
    label["early"] = format_duration(early)
    ages.sort()
    titles, row = age_table(config([format_duration(age) for age in ages], fraud=label))
    assert (titles + row).isascii()
    assert row == row.rstrip()
    for title, text in (*label.items(), ("cohort ages", " ".join(map(format_duration, ages)))):
        assert row[titles.index(title) :].startswith(text)
