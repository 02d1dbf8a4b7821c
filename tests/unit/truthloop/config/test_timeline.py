"""The time line: drawn to scale, readable from minutes to months, nothing covered and nothing too wide."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.base.duration import format_duration, parse_duration_ms
from schemas.config.loop import LabelConfig
from truthloop.config.timeline import draw_timeline, in_ascii

MONTHS = {"expected_delay": "30d", "horizon": "120d", "retain": "200d", "early": "1d"}
LINE = set("┄━─┬┴┼┯┷┿╷╵│")


def label(**ages: str) -> LabelConfig:
    """Make a label kind of the ages."""
    return LabelConfig.model_validate({"definition": "x", **ages})


def ms(*texts: str) -> list[int]:
    """Read durations."""
    return [parse_duration_ms(text) for text in texts]


def axis(lines: list[str]) -> str:
    """Return the line itself: the only one with the open part."""
    return next(line for line in lines[1:-1] if "━" in line or "┯" in line)


def column_of(lines: list[str], name: str) -> int | None:
    """Return the column that a name below the line is tied to; None where it stands across its column."""
    row = next(line for line in lines if name in line)
    at = row.index(name)
    if at >= 2 and row[at - 2] in "├└":
        return at - 2
    end = at + len(name) + 1
    return end if row[end : end + 1] in ("┤", "┘") else None


def test_months_on_a_log_scale_look_like_this() -> None:
    """The whole drawing, as a person sees it."""
    assert draw_timeline(label(**MONTHS), ms("1d", "7d", "14d", "30d", "60d", "90d", "120d"), 80) == [
        "log scale (equal steps, equal factors); cohort ages above",
        "                                                                     120d",
        "                 1d                7d      14d       30d     60d   90d │",
        "┬┄┄┄┄┄┄┄┄┯━━━━━━━━┷━━━━━━━━━━━━━━━━━┷━━━━━━━┷━━━━━━━━━┿━━━━━━━┷━━━━━┷━━┿──────┬",
        "│        └ prediction 0            expected_delay 30d ┘   horizon 120d ┘      │",
        "└ early -1d                                                       retain 200d ┘",
        "┄ label waits for prediction   ━ open   ─ late, still joins",
    ]


def test_minutes_on_a_linear_scale_look_like_this() -> None:
    """To scale: 30 minutes are three times as far from 0 as 10."""
    ages = {"expected_delay": "10m", "horizon": "30m", "retain": "1h", "early": "5m"}
    assert draw_timeline(label(**ages), ms("10m", "20m"), 60) == [
        "to scale, one column is 1.1m; cohort ages above",
        "             10m      20m",
        " ┬┄┄┄┯━━━━━━━━┿━━━━━━━━┷━━━━━━━━┯──────────────────────────┬",
        " │   │        │                 └ horizon 30m    retain 1h ┘",
        " │   │        └ expected_delay 10m",
        " │   └ prediction 0",
        " └ early -5m",
        "┄ label waits for prediction   ━ open   ─ late, still joins",
    ]


def test_a_name_too_long_for_either_side_stands_across_its_column() -> None:
    """Nothing is cut off, at the least width and the longest durations."""
    lines = draw_timeline(label(expected_delay="17d23h59m59s999ms", horizon="36d", retain="36d", early="0s"), [], 60)
    assert any("expected_delay 17d23h59m59s999ms" in line for line in lines)
    assert max(map(len, lines)) <= 60


def test_without_early_ages_or_delay_only_what_is_there_is_drawn() -> None:
    """No waiting before 0, no ages above, no late part where retain is the horizon."""
    assert draw_timeline(label(horizon="3h", retain="3h", early="0s"), [], 60) == [
        "to scale, one column is 3.1m",
        "┯" + "━" * 58 + "┯",
        "└ prediction 0                                  horizon 3h ┤",
        "                                                 retain 3h ┘",
        "━ open",
    ]


def test_ten_minutes_and_two_hundred_days_are_both_readable() -> None:
    """Ages that differ by a factor of 30,000 each have a column of their own."""
    lines = draw_timeline(label(horizon="120d", retain="200d"), ms("10m", "1h", "12h", "1d", "30d"), 60)
    assert lines[0].startswith("log scale")
    above = "".join(lines[1 : lines.index(axis(lines))])
    assert all(text in above for text in ("10m", "1h", "12h", "1d", "30d"))
    assert sum(axis(lines).count(tick) for tick in "┷┴") == 5


def test_ages_beyond_retain_are_still_shown() -> None:
    """The line ends at retain; the age stands behind it."""
    lines = draw_timeline(label(horizon="10d", retain="20d"), ms("30d"), 100)
    assert axis(lines).endswith("╵")
    assert "30d" in lines[1]


def test_a_terminal_without_box_characters_gets_ascii() -> None:
    """Same length, nothing above 127."""
    lines = draw_timeline(label(**MONTHS), ms("1d", "30d"), 80)
    plain = in_ascii(lines)
    assert [len(line) for line in plain] == [len(line) for line in lines]
    assert "".join(plain).isascii()
    assert in_ascii(["é"]) == ["\\xe9"]


DURATION = st.integers(1, 200 * 86_400_000) | st.sampled_from(ms("10m", "1h", "3h", "1d", "30d", "120d"))


@given(
    horizon=DURATION,
    more=st.integers(0, 200 * 86_400_000) | st.just(0),
    delay=st.none() | st.floats(0.001, 1),
    early=st.just(0) | DURATION,
    ages=st.lists(DURATION, max_size=25),
    width=st.integers(20, 200),
)
def test_every_drawing_is_complete_in_order_and_inside_its_width(
    horizon: int, more: int, delay: float | None, early: int, ages: list[int], width: int
) -> None:
    """Whatever the ages: every name and age stands there, tied to its column, columns in order of age."""
    expected = None if delay is None else max(1, int(horizon * delay))
    kind = LabelConfig.model_construct(
        definition="x", horizon=horizon, retain=horizon + more, expected_delay=expected, early=early
    )
    lines = draw_timeline(kind, ages, width)
    limit = min(max(width, 60), 120)
    assert all(len(line) <= limit and line == line.rstrip() for line in lines)
    names = {0: "prediction 0", horizon: f"horizon {format_duration(horizon)}"}
    line_at = lines.index(axis(lines))
    below = lines[line_at + 1 : -1]
    found = [column_of(below, names[0]), column_of(below, names[horizon])]
    if expected is not None:
        found.insert(1, column_of(below, f"expected_delay {format_duration(expected)}"))
    found.append(column_of(below, f"retain {format_duration(horizon + more)}"))
    if early:
        found.insert(0, column_of(below, f"early {format_duration(-early)}"))
        assert found[0] is not None
        assert found[1] is not None
        assert found[0] < found[1]
    columns = [column for column in found if column is not None]
    assert columns == sorted(columns)
    assert all(axis(lines)[column] in "┬┼┯┿" for column in columns)
    above = " ".join(lines[1:line_at]).replace("│", " ").split()
    assert sorted(above) == sorted(format_duration(age) for age in set(ages))
    assert set(axis(lines)) <= LINE | {" "}
