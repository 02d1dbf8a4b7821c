"""Instants that a person types."""

import pytest

from schemas.errors import ConfigError
from truthloop.terminal.instants import parse_instant_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1970-01-01T00:00:01Z", 1_000), ("1970-01-01T01:00:01+01:00", 1_000), ("1970-01-01 00:00:00.250+00:00", 250)],
)
def test_an_instant_with_an_offset_is_parsed(text: str, ms: int) -> None:
    """ISO 8601 in its common forms."""
    assert parse_instant_ms(text, "--close") == ms


@pytest.mark.parametrize("text", ["2014-01-03", "2014-01-03T00:00:00", "yesterday", "", "1388707200"])
def test_an_instant_without_an_offset_is_refused_with_an_example(text: str) -> None:
    """No time zone is assumed."""
    with pytest.raises(ConfigError, match=r"--close: .*is not a time with a UTC offset\n  Write for example"):
        parse_instant_ms(text, "--close")
