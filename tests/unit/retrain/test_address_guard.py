"""Which URLs and addresses a request may be sent to, and which never."""

from collections.abc import Coroutine, Sequence
from typing import TypeVar

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain.address_guard import Endpoint, PinnedAddress, Refusal, Resolver, check_url, parse_allowed, resolve
from schemas.errors import ConfigError

PUBLIC = "93.184.216.34"
NOBODY: frozenset[Endpoint] = frozenset()


T = TypeVar("T")


def finished(work: Coroutine[object, None, T]) -> T:
    """Run a coroutine that never waits; an event loop for each would take most of the time."""
    try:
        work.send(None)
    except StopIteration as stop:
        found: T = stop.value
        return found
    raise AssertionError("it waits")


def answering(*answers: Sequence[str]) -> Resolver:
    """Return a resolver that gives the answers in order, and repeats the last one."""
    left = list(answers)

    async def look_up(_host: str, _port: int) -> Sequence[str]:
        return left.pop(0) if len(left) > 1 else left[0]

    return look_up


async def no_question(host: str, _port: int) -> Sequence[str]:
    """A resolver that must not be called."""
    raise AssertionError(f"{host} was looked up")


def judged(url: str, addresses: Sequence[str], *allow: str) -> PinnedAddress | Refusal:
    """Resolve a URL whose host has these addresses."""
    return finished(resolve(url, parse_allowed(allow), answering(addresses)))


def test_a_public_https_url_is_pinned_to_its_first_address() -> None:
    """Host, port and path are kept."""
    assert judged("https://Hooks.Example.com/a/b?c=%20d", [PUBLIC, "2606:4700::1111"]) == PinnedAddress(
        "https", "hooks.example.com", 443, PUBLIC, "/a/b?c=%20d"
    )
    assert judged("https://hooks.example.com:8443", ["2606:4700::1111"]) == PinnedAddress(
        "https", "hooks.example.com", 8443, "2606:4700::1111", "/"
    )


def test_a_literal_address_is_not_resolved() -> None:
    """It is its own answer."""
    found = finished(resolve(f"https://{PUBLIC}/", NOBODY, no_question))
    assert found == PinnedAddress("https", PUBLIC, 443, PUBLIC, "/")
    found = finished(resolve("https://[2606:4700:0::1111]:99/", NOBODY, no_question))
    assert found == PinnedAddress("https", "2606:4700::1111", 99, "2606:4700::1111", "/")


NOT_PUBLIC = [
    "0.0.0.0",  # noqa: S104 - nothing is bound to it
    *("0.1.2.3", "127.0.0.1", "127.255.0.1", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "100.127.255.255", "100.100.100.200", "192.0.0.1", "192.0.0.9", "192.0.2.1"),
    *("198.18.0.1", "198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1"),
    *("255.255.255.255", "::", "::1", "::7f00:1", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:8.8.8.8"),
    *("::ffff:0:8.8.8.8", "64:ff9b::a9fe:a9fe", "64:ff9b::8.8.8.8", "64:ff9b:1::1", "100::1", "2001::1"),
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2002:a9fe:a9fe::1", "2002:808:808::1", "3fff::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "4000::1", "5f00::1"),
]


PIECES = [
    *("https://", "http://", "//", "/", "\\", "@", ":", "#", "?", "[", "]", ".", "%", "::1", "127.0.0.1", "0x7f", "10"),
    *("169.254.169.254", "a.com", "localhost", "443", "\t", "\n", "\N{FULLWIDTH FULL STOP}", "\udcff", ";", "*"),
]


@settings(max_examples=examples(1_600), deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map("".join) | st.text(max_size=60), st.booleans())
def test_whatever_the_url_it_is_refused_or_pinned_to_a_public_address(text: str, whole: bool) -> None:
    """No other error is raised, and the pinned host is the requested one or the address."""
    asked: list[str] = []

    async def public(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return [PUBLIC]

    try:
        found = finished(resolve(text if whole else f"https://{text}", NOBODY, public))
    except ConfigError:
        assert asked == []
        return
    assert isinstance(found, PinnedAddress)
    assert (found.ip, found.scheme) == (PUBLIC, "https")
    assert asked == [found.host]


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    """Also among public ones: every address is checked."""
    for addresses in ([address], [PUBLIC, address], [address, PUBLIC]):
        found = judged("https://hooks.example.com/", addresses)
        assert isinstance(found, Refusal)
        assert address.partition("%")[0].partition("::")[0] in found.reason


@pytest.mark.parametrize("address", [address for address in NOT_PUBLIC if "%" not in address])
def test_such_an_address_in_the_url_is_a_config_error(address: str) -> None:
    """It is never allowed, so the loop does not start."""
    url = f"https://[{address}]/" if ":" in address else f"https://{address}/"
    with pytest.raises(ConfigError):
        check_url(url, NOBODY)
    with pytest.raises(ConfigError):
        finished(resolve(url, NOBODY, no_question))


@pytest.mark.parametrize(
    "url",
    [
        # IPv4 as numbers, in parts, octal, hexadecimal, with zeros, with other digits
        *("https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://127.1/"),
        *("https://010.0.0.1/", "https://0x7f.1/", "https://1.2.3.4.5/", "https://256.1.1.1/", "https://a.0x10/"),
        "https://\N{FULLWIDTH DIGIT ONE}27.0.0.1/",
        # what parsers read in different ways
        *("https://good.com\\@evil.com/", "https://good.com#@evil.com/", "https://good.com/#x", "https://a@b.com/"),
        *("https://user:word@b.com/", "https://@b.com/", "https://good.com:80@evil.com/", "https://good.com%00/"),
        *("https://good.com%2eevil.com/", "https://good.com:443:80/", "https://good.com:/", "https://good.com:0443/"),
        *("https://good.com:0/", "https://good.com:65536/", "https://good.com:-1/", "https://good.com:a/"),
        *("https://good.com./", "https://.good.com/", "https://good..com/", "https://-a.com/", "https://a-.com/"),
        *("https:///path", "https://", "https:/good.com", "https:good.com", "//good.com/", "good.com", ""),
        *("https://good.com/a b", "https://good.com/\n", "\thttps://good.com/", "https://good.com\r\nHost: x/"),
        *("https://b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.com/", "https://good.com/\N{EM DASH}"),
        *(
            "https://[::1",
            "https://::1/",
            "https://[::1%25eth0]/",
            "https://[::1]x/",
            "https://[v1.a]/",
            "https://[a]/",
        ),
        *("https://good.com?@evil.com/../", "https://" + "a" * 64 + ".com/", "https://" + "a." * 127 + "com/"),
        # other schemes
        *("http://good.com/", "ftp://good.com/", "file:///etc/passwd", "gopher://good.com/", "HTTP://good.com/"),
        "https://good.com/" + "a" * 2_000,
    ],
)
def test_an_odd_url_is_refused_whatever_it_resolves_to(url: str) -> None:
    """The resolver is not called, and only ConfigError is raised."""
    if url == "https://good.com?@evil.com/../":  # a query may hold anything; the host is what all take for the host
        found = judged(url, [PUBLIC])
        assert found == PinnedAddress("https", "good.com", 443, PUBLIC, "/?@evil.com/../")
        return
    with pytest.raises(ConfigError):
        check_url(url, NOBODY)
    with pytest.raises(ConfigError):
        finished(resolve(url, NOBODY, no_question))


def test_an_error_shows_nothing_that_may_be_secret() -> None:
    """Users, passwords, paths and queries may be tokens."""
    for url in ("https://u:tok3n@b.com/tok3n?tok3n#tok3n", "http://b.com/tok3n", "tok3n", "https://tok3n@b.com/\n"):
        with pytest.raises(ConfigError) as raised:
            check_url(url, NOBODY)
        assert "tok3n" not in str(raised.value)
    with pytest.raises(ConfigError, match=r"'https://b\.com': it has a user or password"):
        check_url("https://u:tok3n@b.com/", NOBODY)


INNER = ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "100.64.0.1", "::1", "fd12:3456::1"]
NEVER = [address for address in NOT_PUBLIC if "%" not in address and address not in (*INNER, "fc00::1")]


@pytest.mark.parametrize("address", INNER)
def test_the_allow_list_opens_private_networks_for_one_host_and_port(address: str) -> None:
    """Other ports and hosts stay closed."""
    url = "https://pipeline.corp:8443/hook"
    assert judged(url, [address], "pipeline.corp:8443") == PinnedAddress(
        "https", "pipeline.corp", 8443, address, "/hook"
    )
    assert judged(url, [PUBLIC], "pipeline.corp:8443") == PinnedAddress("https", "pipeline.corp", 8443, PUBLIC, "/hook")
    for other in ("pipeline.corp:443", "other.corp:8443", "pipeline.corp.evil.com:8443"):
        assert isinstance(judged(url, [address], other), Refusal)
    literal = f"[{address}]" if ":" in address else address
    assert judged(f"https://{literal}:9/", [], f"{literal}:9") == PinnedAddress("https", address, 9, address, "/")


@pytest.mark.parametrize(
    "address",
    [address for address in NEVER if not address.startswith(("127.", "10.", "172.", "192.168.", "100.127."))],
)
def test_the_allow_list_opens_nothing_else(address: str) -> None:
    """An allowed name that resolves to a cloud's metadata service has been rebound."""
    assert isinstance(judged("https://pipeline.corp:8443/", [address], "pipeline.corp:8443"), Refusal)


def test_plain_http_is_for_this_machine_and_must_be_allowed() -> None:
    """Every address has to be a loopback one, at each resolution."""
    url, entry = "http://localhost:9000/", "localhost:9000"
    assert judged(url, ["127.0.0.1", "::1"], entry) == PinnedAddress("http", "localhost", 9000, "127.0.0.1", "/")
    assert isinstance(judged(url, ["127.0.0.1", "10.0.0.1"], entry), Refusal)
    assert isinstance(judged(url, [PUBLIC], entry), Refusal)
    for refused, allow in [(url, ()), ("http://10.0.0.1:9000/", ("10.0.0.1:9000",)), (f"http://{PUBLIC}/", ())]:
        with pytest.raises(ConfigError):
            check_url(refused, parse_allowed(allow))
    check_url("http://127.0.0.1:9000/", parse_allowed(["127.0.0.1:9000"]))


def test_a_rebound_name_is_refused_at_the_next_resolution() -> None:
    """Each attempt resolves once, and checks the answer."""
    rebinding = answering([PUBLIC], ["169.254.169.254"])
    first = finished(resolve("https://hooks.example.com/", NOBODY, rebinding))
    second = finished(resolve("https://hooks.example.com/", NOBODY, rebinding))
    assert isinstance(first, PinnedAddress)
    assert first.ip == PUBLIC
    assert second == Refusal(
        "hooks.example.com resolves to 169.254.169.254, which is not an address of the public internet"
    )


@pytest.mark.parametrize("error", [OSError("no such name"), UnicodeError("label too long"), None])
def test_a_name_that_does_not_resolve_is_refused_for_now(error: Exception | None) -> None:
    """So are an empty answer, and one that is not an address; none of them stops the sender."""

    async def failing(_host: str, _port: int) -> Sequence[str]:
        if error is not None:
            raise error
        return []

    assert isinstance(finished(resolve("https://hooks.example.com/", NOBODY, failing)), Refusal)
    assert isinstance(judged("https://hooks.example.com/", ["not an address"]), Refusal)


@pytest.mark.parametrize(
    "entry", ["", "a", "a:", ":80", "a:0", "a:b", "a:80/x", "a:80?x", "u@a:80", "https://a:80", "127.1:80"]
)
def test_an_entry_of_the_allow_list_is_a_host_and_a_port(entry: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigError):
        parse_allowed([entry])
    assert parse_allowed(["A.corp:80", "[::1]:80"]) == {Endpoint("a.corp", 80), Endpoint("::1", 80)}
