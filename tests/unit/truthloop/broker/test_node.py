"""Parts of a local Kafka process: its properties file, free ports, the end of its log, its tools."""

import socket
import sys
from contextlib import closing
from pathlib import Path

import pytest

from schemas.errors import BrokerError
from truthloop.broker import node
from truthloop.broker.node import free_ports, log_tail, port_is_free, run_tool, start_node, write_properties


def test_properties_are_written_as_java_reads_them(tmp_path: Path) -> None:
    """In ASCII, by UTF-16 units; a line break in a value does not begin another property."""
    path = tmp_path / "server.properties"
    path.write_text("longer text that an earlier start wrote\n", "utf-8")
    write_properties(path, {"a": "C:\\ü", "b": "🙂 = #", "c": "1\nprocess.roles=none"})
    assert path.read_text("ascii") == ("a=C:\\\\\\u00fc\nb=\\ud83d\\ude42 = #\nc=1\\u000aprocess.roles=none\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_free_port_is_not_one_of_outgoing_connections() -> None:
    """A client that connects to a dead broker there could get connected to itself, and keep the port."""
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii")
    assert max(free_ports(9)) < int(outgoing.split()[0])


def test_ports_are_drawn_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is free: the ports of one node differ from each other, and from one that was given."""
    first, second = sorted(free_ports(2))
    monkeypatch.setattr(node, "PORTS", (first, second))
    assert sorted(free_ports(2)) == [first, second]
    assert free_ports(1, second) == [first]
    for count, besides in ((3, 0), (2, first)):
        with pytest.raises(BrokerError, match=f"no port from {first} to {second} is free"):
            free_ports(count, besides)


def test_a_port_with_a_listener_is_not_free() -> None:
    """It is free again after the listener has closed."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        assert not port_is_free(port)
    assert port_is_free(port)


def test_the_end_of_a_log_is_that_of_the_last_start(tmp_path: Path) -> None:
    """With the reason, without the frames of Java's stack traces."""
    log = tmp_path / "broker.log"
    for word in ("first", "second"):
        assert (
            start_node([sys.executable, "-c", f"print('{word}\\n\\tat inner.Step\\n\\nCaused by: it')"], log).wait()
            == 0
        )
    assert log_tail(log) == "The end of its log:\n    second\n    Caused by: it"
    assert log_tail(tmp_path / "none") == "Its log is empty."


def test_a_tool_that_fails_is_reported_with_its_own_message() -> None:
    """And with its purpose."""
    with pytest.raises(BrokerError, match="the local broker cannot make tea") as refused:
        run_tool([sys.executable, "-c", "import sys; sys.exit('no water')"], "make tea")
    assert refused.value.hint == "no water"


def test_java_options_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are meant for another Java."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    run_tool([sys.executable, "-c", "import os, sys; sys.exit('JAVA_TOOL_OPTIONS' in os.environ)"], "be left alone")
