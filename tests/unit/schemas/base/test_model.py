"""The base models: what both refuse, and the one difference between them."""

import pytest
from pydantic import ValidationError

from schemas.base.model import LenientModel, StrictModel


class Strict(StrictModel):
    """A model that refuses unknown fields."""

    number: float


class Lenient(LenientModel):
    """A model that ignores them."""

    number: float


@pytest.mark.parametrize("model", [Strict, Lenient])
@pytest.mark.parametrize("value", ["1", True, float("nan"), float("inf"), None])
def test_types_are_strict_and_numbers_finite(model: type[Strict | Lenient], value: object) -> None:
    """Nothing is converted."""
    with pytest.raises(ValidationError):
        model.model_validate({"number": value})


@pytest.mark.parametrize("model", [Strict, Lenient])
def test_instances_are_frozen(model: type[Strict | Lenient]) -> None:
    """Models can be shared between threads."""
    with pytest.raises(ValidationError, match="frozen"):
        model(number=1.0).number = 2.0


def test_an_unknown_field_is_refused_or_ignored() -> None:
    """The strict model notices a misspelt name; the lenient one understands a newer sender."""
    document = {"number": 1.0, "unknown": 2.0}
    with pytest.raises(ValidationError, match="unknown"):
        Strict.model_validate(document)
    assert Lenient.model_validate(document).model_dump() == {"number": 1.0}
