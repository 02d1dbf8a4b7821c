"""Partitions that are read unevenly are merged in the order of time, and nothing waits or is lost at their ends."""

from hypothesis import given
from hypothesis import strategies as st

from streams.ingest.alignment import Alignment, in_order


def test_a_record_waits_for_a_partition_that_has_more_to_give() -> None:
    """Records up to the time of the slower partition are taken, the rest waits."""
    alignment: Alignment[str, str] = Alignment()
    for time in (1, 5, 9):
        alignment.add("a", [f"a{time}"], [time])
    alignment.add("b", ["b4"], [4])
    assert in_order(alignment.take({"a", "b"})) == ["a1", "b4"]
    assert alignment.first("a") == "a5"
    assert alignment.count("a") == 2


def test_nothing_is_taken_before_every_partition_that_has_more_has_delivered_a_record() -> None:
    """A partition without any record yet may have the oldest."""
    alignment: Alignment[str, int] = Alignment()
    alignment.add("a", [1], [1])
    assert in_order(alignment.take({"a", "b"})) == []
    assert in_order(alignment.take({"a"})) == [1]


def test_at_the_ends_nothing_waits() -> None:
    """Caught up, every record is taken at once."""
    alignment: Alignment[str, int] = Alignment()
    alignment.add("a", [9], [9])
    alignment.add("b", [2], [2])
    assert in_order(alignment.take(())) == [2, 9]


def test_a_partition_keeps_the_order_of_its_offsets() -> None:
    """A record that is older than the one before it is taken with it, not before it."""
    alignment: Alignment[str, str] = Alignment()
    for name, time in (("first", 5), ("second", 3), ("third", 6)):
        alignment.add("a", [name], [time])
    alignment.add("b", ["other"], [4])
    assert in_order(alignment.take({"b"})) == ["other"]
    assert in_order(alignment.take(())) == ["first", "second", "third"]


@given(st.lists(st.lists(st.integers(0, 50), max_size=20), min_size=1, max_size=4), st.randoms())
def test_sorted_partitions_become_one_sorted_log_however_unevenly_they_are_read(
    times: list[list[int]], chance: object
) -> None:
    """Read in any pieces, every record is taken once and in order."""
    rest = {name: sorted(values) for name, values in enumerate(times)}
    total = sorted(value for values in times for value in values)
    alignment: Alignment[int, int] = Alignment()
    found: list[int] = []
    while any(rest.values()):
        name = chance.choice([name for name, values in rest.items() if values])  # type: ignore[attr-defined]
        for _ in range(chance.randint(1, 5)):  # type: ignore[attr-defined]
            if rest[name]:
                value = rest[name].pop(0)
                alignment.add(name, [value], [value])
        found += in_order(alignment.take([name for name, values in rest.items() if values]))
    found += in_order(alignment.take(()))
    assert found == total
