"""Moments that people type."""

import pytest

from schemas.errors import ConfigError
from truthloop.clock import moment_ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1970-01-01T00:00:01Z", 1_000), ("1970-01-01T01:00:01+01:00", 1_000), ("1970-01-01 00:00:00.250+00:00", 250)],
)
def test_a_moment_with_an_offset_is_read(text: str, ms: int) -> None:
    """ISO 8601 in its common forms."""
    assert moment_ms(text, "--close") == ms


@pytest.mark.parametrize("text", ["2014-01-03", "2014-01-03T00:00:00", "yesterday", "", "1388707200"])
def test_a_moment_without_an_offset_is_refused_with_the_form_that_is_wanted(text: str) -> None:
    """Nobody's zone is guessed."""
    with pytest.raises(ConfigError, match=r"--close: .*is not a moment with a time zone\n  Write for instance"):
        moment_ms(text, "--close")
