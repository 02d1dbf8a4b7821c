"""Names of JSON objects that are there twice."""

import json

import pytest

from schemas.base.json_names import RepeatedNameError, names_once


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 1}', '[{"c": {"a": 1, "\\u0061": 2}}]'])
def test_the_first_name_that_is_there_again_is_named(text: str) -> None:
    """At any depth, and however it is escaped."""
    with pytest.raises(RepeatedNameError, match=r"^a$"):
        json.loads(text, object_pairs_hook=names_once)


def test_an_object_without_repeats_is_as_usual() -> None:
    """Also an empty one."""
    for text in ("{}", '{"a": {"a": 1}}'):
        assert json.loads(text, object_pairs_hook=names_once) == json.loads(text)
