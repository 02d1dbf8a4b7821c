"""The offsets of a topic's sample: the whole of a small topic, newest and spread blocks of a large one."""

from hypothesis import example, given
from hypothesis import strategies as st

from streams.kafka.sample_offsets import BLOCKS, sample_plan

RANGES = st.dictionaries(
    st.integers(0, 20), st.tuples(st.integers(0, 10_000), st.integers(0, 50_000)).map(lambda one: (one[0], sum(one)))
)


def test_a_small_topic_is_read_whole() -> None:
    """In one round; empty partitions have no block."""
    assert sample_plan({0: (5, 15), 1: (7, 7), 2: (0, 3)}, 100) == [{0: (5, 15), 2: (0, 3)}]


def test_half_of_a_sample_is_the_newest_and_half_is_spread() -> None:
    """Over everything that is older."""
    newest, *spread = sample_plan({0: (0, 8_000)}, 160)
    assert newest == {0: (7_920, 8_000)}
    assert [blocks[0] for blocks in spread] == [(990 * at, 990 * at + 10) for at in range(BLOCKS)]


def test_partitions_that_are_small_leave_their_share_to_the_others() -> None:
    """So that the sample has the size that was asked for."""
    plan = sample_plan({0: (0, 10), 1: (0, 1_000)}, 100)
    assert sum(end - first for blocks in plan for first, end in blocks.values()) == 100


@given(RANGES, st.integers(1, 2_000))
@example({0: (0, 35)}, 34)  # the spread half takes nearly all older offsets
def test_blocks_lie_inside_the_ranges_and_do_not_overlap(ranges: dict[int, tuple[int, int]], records: int) -> None:
    """And hold no more than was asked for, but at least one record of every partition that has any."""
    offsets = {
        (partition, offset)
        for blocks in sample_plan(ranges, records)
        for partition, block in blocks.items()
        for offset in range(*block)
    }
    sizes = [end - first for blocks in sample_plan(ranges, records) for first, end in blocks.values()]
    assert all(ranges[partition][0] <= offset < ranges[partition][1] for partition, offset in offsets)
    filled = {partition for partition, (low, high) in ranges.items() if high > low}
    assert len(offsets) == sum(sizes) <= max(records, len(filled))
    assert {partition for partition, _ in offsets} == filled
