"""Scalars of the config against columns: the type of the config's scalar decides, whatever the records' types."""

from decimal import Decimal

import polars as pl
import pytest

from schemas.config.mapping import Scalar
from streams.columns.scalar import tidy, to_bool, to_whole_text
from streams.columns.scalar_match import ScalarMatch, condition_met
from streams.readers.json_columns import typed_series

TRUE_TEXTS = ["true", "True", "TRUE", "t", "T", "yes", "Y", "y", "1", "1.0", "1.00"]
FALSE_TEXTS = ["false", "False", "f", "no", "N", "0", "0.0"]
UNREAD_TEXTS = ["", "2", "-1", "0.5", "01", "+1", "1e0", " true", "oui", "null", "None", "\x00[1]"]


def test_booleans_are_read_from_every_common_spelling() -> None:
    """What reads as neither is null, never false."""
    texts = [*TRUE_TEXTS, *FALSE_TEXTS, *UNREAD_TEXTS, None]
    expected = [True] * len(TRUE_TEXTS) + [False] * len(FALSE_TEXTS) + [None] * (len(UNREAD_TEXTS) + 1)
    assert to_bool(pl.Series(texts)).to_list() == expected
    assert ScalarMatch([True]).test(pl.Series(texts)).to_list() == expected
    inverse = [None if answer is None else not answer for answer in expected]
    assert ScalarMatch([False]).test(pl.Series(texts)).to_list() == inverse
    for numbers in (
        pl.Series([1, 0, 2]),
        pl.Series([1.0, 0.0, 0.5]),
        pl.Series([Decimal("1.00"), Decimal(0), Decimal(2)]),
    ):
        assert ScalarMatch([True]).test(numbers).to_list() == [True, False, None]


MATCHES: list[tuple[Scalar, object, bool]] = [
    # a boolean among other scalars: unread values equal it not
    (True, True, True), (True, "Yes", True), (True, 1, True), (True, 1.0, True), (True, "maybe", False),
    (False, False, True), (False, "F", True), (False, 0, True),
    # an unquoted number
    (10.4, 10.4, True), (10.4, "10.4", True), (10.4, "10.40", True), (10.4, "010.4", False), (10.4, " 10.4", False),
    (10.4, Decimal("10.40"), True), (10.4, "1.04e1", False), (1, "1", True), (1, "1.0", True), (1, 1.0, True),
    (1, True, True), (1, "true", False), (1, "01", False), (0, "-0", True), (2**53 + 1, 2**53 + 1, True),
    (2**53 + 1, 2**53, False), (2**70, str(2**70), True), (2**70, 2**70, True), (0.1, 0.1, True),
    # quoted text
    ("10.40", "10.40", True), ("10.40", "10.4", False), ("10.40", 10.4, True), ("10.40", Decimal("10.4"), True),
    ("1.10", "1.1", False), ("1", 1, True), ("1", "1.0", False), ("1", 1.0, True), ("01", 1, False),
    ("true", True, True), ("true", "True", False), ("T", True, True), ("true", False, False), ("d", "d", True),
    ("d", "D", False), ("REVERSED", "REVERSED", True), ("1", True, True), ("", "", True), ("a", ["a"], False),
]  # fmt: skip


@pytest.mark.parametrize(("scalar", "value", "equals"), MATCHES)
def test_a_scalar_equals_a_value_alone_and_among_others(scalar: Scalar, value: object, equals: bool) -> None:
    """Neighbours of other types change nothing; `never` keeps a lone boolean from being a question."""
    match = ScalarMatch([scalar, "never"])
    column = tidy(pl.Series([value])) if isinstance(value, Decimal) else typed_series([value])
    assert match.test(column).to_list() == [equals]
    if not isinstance(value, Decimal):
        for neighbours in (["text"], [7], [0.5], [True], [None], [["x"]], ["text", 7, True, 2**70]):
            assert match.test(typed_series([value, *neighbours]))[0] is equals, neighbours


def test_short_floats_are_the_numbers_that_are_written() -> None:
    """A score of .9 in 32 bits is .9: at a threshold of .9 it counts as positive."""
    floats = tidy(pl.Series([0.9, 0.1, 1 / 3, None, 16_777_216.0, 1e-7], dtype=pl.Float32))
    assert floats.to_list() == [0.9, 0.1, 0.33333334, None, 16_777_216.0, 1e-7]
    assert ScalarMatch([0.9]).find(floats).to_list() == [0, None, None, None, None, None]


def test_the_first_of_several_scalars_counts() -> None:
    """Values of a map are found by the closest reading: text before number before boolean."""
    match = ScalarMatch([True, "1", 1])
    assert match.find(typed_series(["1"]))[0] == 1
    assert match.find(typed_series([1]))[0] == 0
    assert ScalarMatch([10.4, "10.40"]).find(pl.Series(["10.40", "10.4"])).to_list() == [1, 0]


def test_a_question_that_is_not_answered_is_told_apart_from_no() -> None:
    """Only booleans are questions: other values differ from text and numbers, and that is an answer."""
    met, unread = condition_met(ScalarMatch([True]), pl.Series(["T", "n", "perhaps", None]))
    assert (met.to_list(), unread.to_list()) == ([True, False, False, False], [False, False, True, False])
    met, unread = condition_met(ScalarMatch([1]), pl.Series(["1", "perhaps", None]))
    assert (met.to_list(), unread.to_list()) == ([True, False, False], [False, False, False])


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("101", "101"), ("101.0", "101"), ("101.", "101"), ("007", "7"), ("0", "0"), ("000", "0"), ("-0", "0"),
        ("+5", "5"), ("-5.00", "-5"), (str(10**40), str(10**40)), ("1.5", ""), ("1e3", ""), ("a", ""), ("", ""),
        (" 1", ""), ("1_000", ""), ("--1", ""), ("nan", ""), (None, None),
    ],
)  # fmt: skip
def test_whole_text(text: str | None, whole: str | None) -> None:
    """`type: int` reads every spelling of a whole number, exactly and of any length."""
    assert to_whole_text(pl.Series([text], dtype=pl.String)).to_list() == [whole]
