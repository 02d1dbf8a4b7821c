"""Commands to a running join, as they are read from their topic."""

import msgspec
import pytest

from streams.messages.command import ChangeRules, Close, decode_command


@pytest.mark.parametrize("command", [Close(1_000, 5, 7), ChangeRules('{"partitions":8}')])
def test_a_command_survives_its_message(command: Close | ChangeRules) -> None:
    """The tag tells which one it is."""
    assert decode_command(msgspec.json.encode(command)) == command


@pytest.mark.parametrize(
    "message", [None, b"", b"\xff", b"{}", b'{"command": "open"}', b'{"command": "close", "v": 2}']
)
def test_a_message_that_is_no_command_of_this_version_is_none(message: bytes | None) -> None:
    """The join goes on without it."""
    assert decode_command(message) is None
