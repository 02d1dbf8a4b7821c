"""Which files become one: tiers of a day that goes on, a day that has ended, small days of a month that is over."""

from datetime import date, timedelta

import pytest
from maintenance_case import DAY, moment

from lake.maintenance.plan import (
    FILES_PER_GROUP_MAX,
    MONTH_ENDS_AFTER,
    MONTH_FILE_ROWS_MAX,
    PAST_FILES_MAX,
    TODAY_FILES_MAX,
    ActiveFile,
    Group,
    level_of,
    plan_groups,
)

NOW_MS = moment()
HEX = "0123456789abcdef" * 2


def a_file(number: int, level: int = 0, *, day: date = DAY, rows: int = 10) -> ActiveFile:
    """Return a file; a greater number is a younger file."""
    name = f"level-{level}-{number:032x}" if level else f"part-{number}"
    return ActiveFile(f"recorded_on={day}/{name}.parquet", day, rows * 50, rows, NOW_MS + number)


def files(count: int, level: int = 0, *, day: date = DAY, first: int = 0, rows: int = 10) -> list[ActiveFile]:
    """Return some files."""
    return [a_file(number, level, day=day, rows=rows) for number in range(first, first + count)]


def after(found: list[ActiveFile], groups: list[Group], number: int) -> list[ActiveFile]:
    """Return the files when the groups are rewritten."""
    for at, group in enumerate(groups):
        gone = {file.path for file in group.files}
        path = f"recorded_on={group.day}/{group.file_name(f'{number + at:032x}')}"
        merged = ActiveFile(path, group.day, group.size, group.rows, NOW_MS + number + at)
        found = [*(file for file in found if file.path not in gone), merged]
    return found


@pytest.mark.parametrize(("level", "full"), [(0, 64), (1, 16), (2, 16), (7, 16)])
def test_a_tier_becomes_one_file_of_the_next_when_it_is_full(level: int, full: int) -> None:
    """One file less, and nothing is due."""
    assert plan_groups(files(full - 1, level), NOW_MS) == []
    (group,) = plan_groups(files(full, level), NOW_MS)
    assert len(group.files) == full
    assert level_of(group.file_name(HEX)) == level + 1
    assert (group.rows, group.size) == (full * 10, full * 500)


def test_levels_of_a_day_are_not_mixed() -> None:
    """Else a large file would be rewritten with every handful of small ones."""
    found = [*files(60), *files(15, 1), *files(16, 2)]
    (group,) = plan_groups(found, NOW_MS)
    assert {file.level for file in group.files} == {2}


def test_a_day_of_any_length_has_few_files_at_any_moment_and_each_row_is_rewritten_three_times() -> None:
    """At eight commits in 10 s and a plan every 20 s, as of eight workers."""
    found: list[ActiveFile] = []
    most = rewritten = number = 0
    for _ in range(86_400 // 20):
        found += files(16, first=number, rows=1)
        number += 16
        most = max(most, len(found))
        while groups := plan_groups(found, NOW_MS):
            rewritten += sum(group.rows for group in groups)
            found = after(found, groups, number)
            number += len(groups)
    assert most <= TODAY_FILES_MAX // 1.5
    assert rewritten / sum(file.rows for file in found) <= 3


@pytest.mark.parametrize("count", [PAST_FILES_MAX + 1, 150, FILES_PER_GROUP_MAX])
def test_a_past_day_with_too_many_files_becomes_one(count: int) -> None:
    """Whatever their levels are."""
    yesterday = DAY - timedelta(days=1)
    found = [*files(count - 2, day=yesterday), *files(2, 1, day=yesterday)]
    (group,) = plan_groups(found, NOW_MS)
    assert sorted(file.path for file in group.files) == sorted(file.path for file in found)
    assert plan_groups(found[:PAST_FILES_MAX], NOW_MS) == []


def test_stragglers_of_a_past_day_leave_its_large_file_alone() -> None:
    """Two writers were slow; the day has two files afterwards, and its rows are not written again."""
    yesterday = DAY - timedelta(days=1)
    large = a_file(0, 3, day=yesterday, rows=10_000)
    found = [large, *files(3, day=yesterday, first=1)]
    (group,) = plan_groups(found, NOW_MS)
    assert large not in group.files
    assert len(after(found, [group], 9)) == 2


def test_a_day_without_a_large_file_of_ours_is_rewritten_whole() -> None:
    """A large file that a writer wrote is not sorted yet."""
    yesterday = DAY - timedelta(days=1)
    found = [a_file(0, day=yesterday, rows=10_000), *files(3, day=yesterday, first=1)]
    (group,) = plan_groups(found, NOW_MS)
    assert len(group.files) == 4


def test_very_many_files_are_rewritten_in_portions_until_the_day_has_one() -> None:
    """Of a lake that nobody has compacted for long."""
    yesterday = DAY - timedelta(days=1)
    found = files(30_000, day=yesterday)
    number, rounds = 100_000, 0
    while groups := plan_groups(found, NOW_MS):
        assert all(len(group.files) <= FILES_PER_GROUP_MAX for group in groups)
        found = after(found, groups, number)
        number, rounds = number + len(groups), rounds + 1
    assert (len(found), found[0].rows, rounds) == (1, 300_000, 2)


def test_a_day_has_not_ended_before_slow_writers_have_committed() -> None:
    """Ten minutes after midnight it has."""
    midnight_ms = moment(DAY, 24)
    found = files(10)
    assert plan_groups(found, midnight_ms + 599_999) == []
    assert len(plan_groups(found, midnight_ms + 600_000)) == 1


def days_of(month: int, rows: int, per_day: int = 1) -> list[ActiveFile]:
    """Return files of all days of a month of 2025, the youngest first."""
    days = (date(2025, month, 1) + timedelta(days=number) for number in range(31))
    found = [one for day in days if day.month == month for one in files(per_day, 1, day=day, rows=rows)]
    return found[::-1]


def test_small_days_of_a_month_that_is_over_share_a_file_in_their_order() -> None:
    """Of each month one; it belongs to the first day, and nothing is due afterwards."""
    found = [*days_of(11, 1_000, 3), *days_of(12, 1_000)]
    groups = plan_groups(found, NOW_MS)
    assert [(group.day, len(group.files)) for group in groups] == [(date(2025, 11, 1), 90), (date(2025, 12, 1), 31)]
    days = [file.day for file in groups[0].files]
    assert days == sorted(days)
    merged = after(found, groups, 1)
    assert [file.rows for file in merged] == [90_000, 31_000]
    assert plan_groups(merged, NOW_MS) == []
    late = a_file(7, day=date(2025, 11, 30))
    assert [group.rows for group in plan_groups([*merged, late], NOW_MS)] == [90_010]


def test_a_month_is_over_some_days_after_its_end() -> None:
    """Until then its days are those of their own."""
    found = days_of(1, 10)
    over_ms = moment(date(2025, 2, 1) + MONTH_ENDS_AFTER, 0.5)
    assert plan_groups(found, over_ms - 86_400_000) == []
    assert [len(group.files) for group in plan_groups(found, over_ms)] == [31]


@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        (MONTH_FILE_ROWS_MAX, [1] * 30),
        (MONTH_FILE_ROWS_MAX // 2 + 1, [1] * 30),
        (MONTH_FILE_ROWS_MAX // 7, [7, 7, 7, 7, 2]),
    ],
)
def test_a_file_of_several_days_has_a_greatest_number_of_rows(rows: int, sizes: list[int]) -> None:
    """Large days have files of their own; what was rewritten once is not due again, and a late file not all of it."""
    found = days_of(11, rows)
    groups = plan_groups(found, NOW_MS)
    assert [len(group.files) for group in sorted(groups, key=lambda one: one.day)] == [one for one in sizes if one > 1]
    merged = after(found, groups, 1)
    assert len(merged) == len(sizes)
    assert plan_groups(merged, NOW_MS) == []


def test_a_day_that_is_about_to_have_too_many_files_is_urgent() -> None:
    """Three quarters of the limit; a day that has ended never is."""
    assert [group.is_urgent for group in plan_groups(files(150), NOW_MS)] == [False]
    assert [group.is_urgent for group in plan_groups(files(151), NOW_MS)] == [True]
    assert not plan_groups(files(500, day=DAY - timedelta(days=1)), NOW_MS)[0].is_urgent


def test_groups_begin_with_the_day_that_has_the_most_files() -> None:
    """And have no file in common."""
    found = [*files(10, day=DAY - timedelta(days=2)), *files(70), *files(20, day=DAY - timedelta(days=1))]
    groups = plan_groups(found, NOW_MS)
    assert [len(group.files) for group in groups] == [70, 20, 10]
    assert len({file.path for group in groups for file in group.files}) == 100


@pytest.mark.parametrize(
    ("path", "level"),
    [
        (f"recorded_on=2026-03-02/level-1-{HEX}.parquet", 1),
        (f"recorded_on=2026-03-02/level-12-{HEX}.parquet", 12),
        (f"recorded_on=2026-03-02/my-level-1-{HEX}.parquet", 0),
        ("recorded_on=2026-03-02/level-1-short.parquet", 0),
        (f"recorded_on=2026-03-02/part-00000-{HEX}-c000.zstd.parquet", 0),
    ],
)
def test_the_level_of_a_file_is_in_its_name(path: str, level: int) -> None:
    """It survives every checkpoint and every copy."""
    assert level_of(path) == level
