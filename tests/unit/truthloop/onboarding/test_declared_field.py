"""Fields of a sample of which a schema says more than the sample: `truthloop.onboarding.profiles.field`."""

from streams.readers.declared_field import DeclaredField
from truthloop.onboarding.profiles.field import SYMBOLS_MAX, FieldProfile


def test_the_type_of_a_schema_counts_where_the_values_have_it() -> None:
    """Whole values of a number are numbers; a value that spoils its field leaves what was seen."""
    assert FieldProfile("a", [1, 2, None], DeclaredField("number")).kind == "number"
    assert FieldProfile("a", [1, "\x00spoilt"], DeclaredField("number")).kind == ""
    assert FieldProfile("a", [1, 2], DeclaredField(None)).kind == "whole number"


def test_the_names_of_an_enum_are_categories() -> None:
    """Those that were seen first, however few records there are; too many are no list for a person."""
    assert FieldProfile("a", ["B"], DeclaredField("text", ("A", "B"))).categories == ["B", "A"]
    many = tuple(f"s{number}" for number in range(SYMBOLS_MAX + 1))
    assert FieldProfile("a", ["s1"], DeclaredField("text", many)).categories == []
