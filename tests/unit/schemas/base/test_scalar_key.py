"""Keys that are values: `schemas.base.scalar_key`."""

from schemas.base.scalar_key import ScalarKey, typed_key


def test_a_key_is_its_text_and_knows_its_value() -> None:
    """As a name it is found by its text; as a value it has its type."""
    key = ScalarKey("10.40", 10.4)
    assert {key: 1} == {"10.40": 1}
    assert typed_key(key) == 10.4
    assert typed_key(ScalarKey("true", value=True)) is True
    assert typed_key("true") == "true"
    assert typed_key(3) == 3
