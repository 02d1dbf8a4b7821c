"""Which address a request may be sent to, decided once and then pinned (server-side request forgery).

A URL of the config names a host; what the name resolves to is somebody else's to say, and may change between
two looks. So a name is resolved once, every address is judged, and the sender connects to the judged address
and to no other. What a config can never mean is a `ConfigError`; what only the present answer of the resolver
forbids is a `Refusal`, which is recorded and tried again.

Must not connect, follow anything, or read the environment.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit

from schemas.errors import ConfigError

__all__ = [
    "Endpoint",
    "PinnedTarget",
    "Refusal",
    "Resolver",
    "check_url",
    "parse_allowed",
    "resolve",
    "system_resolver",
]

URL_LENGTH_MAX = 2_000
PORT_MAX = 65_535
_DEFAULT_PORTS = {"https": 443, "http": 80}

_TEXT = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII without the backslash, which browsers and libraries read in different ways."""

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes the whole host an IPv4 address to many a parser: 2130706433, 127.1, 0x7f.1."""

_V4_NEVER = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "169.254.0.0/16",  # link-local; clouds serve credentials at 169.254.169.254
        "192.0.0.0/24",  # protocol assignments; Python calls some of it global
        "192.88.99.0/24",  # relays of 6to4
        "224.0.0.0/4",  # multicast, which Python calls global
        "240.0.0.0/4",  # reserved and broadcast
        "100.100.100.200/32",  # a cloud's credentials
    )
)
_V6_NEVER = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID and other protocol assignments
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
        "fd00:ec2::/32",  # a cloud's credentials
    )
)
_V6_UNICAST = IPv6Network("2000::/3")
"""All that is assigned as global unicast. What lies outside hides IPv4 (::ffff:0:0/96, 64:ff9b::/96), or is local."""

_PRIVATE = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"))
_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_LOOPBACK = IPv6Address("::1")

Address = IPv4Address | IPv6Address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> all its addresses as text; OSError if there are none."""


class Endpoint(NamedTuple):
    """A host, in lower case and without brackets, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PinnedTarget:
    """Where to connect, and what to ask for there.

    Attributes:
        scheme: `https`, or `http` on this machine.
        host: what the Host header and the certificate name; without brackets.
        port: 1 to 65535.
        ip: the one address to connect to.
        path: with its query; begins with a slash.
    """

    scheme: Literal["https", "http"]
    host: str
    port: int
    ip: str
    path: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing may be sent now, and why; it holds no part of the URL but its host."""

    reason: str


def parse_allowed(entries: Iterable[str]) -> frozenset[Endpoint]:
    """Return the allow-list of a config: `host:port` entries that may lie in a private network or on this machine.

    Raises:
        ConfigError: an entry is not host:port.
    """
    return frozenset(_allowed(entry) for entry in entries)


async def resolve(url: str, allow: frozenset[Endpoint], resolver: Resolver) -> PinnedTarget | Refusal:
    """Return where to connect for `url`, or why nothing may be sent there now.

    Addresses must be global unicast. An endpoint of `allow` may also be private or of this machine, but no
    entry opens what is link-local, multicast, unspecified, or IPv4 inside IPv6.

    Args:
        url: an absolute https URL; http only where `allow` names the endpoint and it is on this machine.
        allow: from `parse_allowed`.
        resolver: asked once, and only for names.

    Raises:
        ConfigError: the URL can never be sent to, whatever the resolver says.
    """
    parts, (host, port) = _read(url, allow)
    allowed, is_plain = Endpoint(host, port) in allow, parts.scheme == "http"
    found = await _look_up(host, port, resolver)
    if isinstance(found, Refusal):
        return found
    for address in found:
        if (fault := _fault(address, allowed=allowed, loopback_only=is_plain)) is not None:
            return Refusal(f"{host} resolves to {address}, which is {fault}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return PinnedTarget("http" if is_plain else "https", host, port, str(found[0]), path)


def check_url(url: str, allow: frozenset[Endpoint]) -> None:
    """Refuse a URL of a config that can never be sent to, without asking a resolver.

    Args:
        url: as for `resolve`.
        allow: as for `resolve`.

    Raises:
        ConfigError: as `resolve`.
    """
    _read(url, allow)


async def system_resolver(host: str, port: int) -> list[str]:
    """Ask the operating system, in the order that it prefers.

    Raises:
        OSError: the name is not known, or nobody answers.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _split(url: str) -> SplitResult:
    if len(url) > URL_LENGTH_MAX or not _TEXT.fullmatch(url):
        raise _unusable(url, f"a URL is printable ASCII without spaces and backslashes, {URL_LENGTH_MAX} at most")
    if "#" in url:
        raise _unusable(url, "a fragment is never sent, so it has no place here")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unusable(url, "it cannot be read") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        raise _unusable(url, "it must begin with https:// and a host")
    if "@" in parts.netloc:
        raise _unusable(url, "a user or password has no place in it; requests are signed")
    if parts.path and not parts.path.startswith("/"):
        raise _unusable(url, "its path must begin with a slash")
    return parts


def _endpoint(parts: SplitResult, url: str) -> Endpoint:
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _unusable(url, "its port is not a number from 1 to 65535") from None
    if port is None:
        port = _DEFAULT_PORTS[parts.scheme]
    written = f"[{host}]" if host and ":" in host else host
    if not host or parts.netloc.lower() not in (written, f"{written}:{port}"):
        raise _unusable(url, "its host and port are not in their plain form")
    _check_host(host, url)
    if not 1 <= port <= PORT_MAX:
        raise _unusable(url, "its port is not a number from 1 to 65535")
    literal = _literal(host)
    return Endpoint(host if literal is None else str(literal), port)


def _check_host(host: str, where: str) -> None:
    if _literal(host) is not None:
        return
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        raise _unusable(where, "an IPv4 address is four decimal numbers without leading zeros")
    if not _HOST_NAME.fullmatch(host):
        raise _unusable(where, "its host is no DNS name in ASCII (without a dot at its end) and no address")


def _literal(host: str) -> Address | None:
    """Return the address that a host is written as, in its plain form; None for names and for all odd forms."""
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def _read(url: str, allow: frozenset[Endpoint]) -> tuple[SplitResult, Endpoint]:
    parts = _split(url)
    endpoint = _endpoint(parts, url)
    is_plain = parts.scheme == "http"
    if is_plain and endpoint not in allow:
        raise _unusable(url, "http is for this machine only, where the config allows its host:port; use https")
    literal = _literal(endpoint.host)
    fault = None if literal is None else _fault(literal, allowed=endpoint in allow, loopback_only=is_plain)
    if fault is not None:
        raise _unusable(url, f"{endpoint.host} is {fault}")
    return parts, endpoint


async def _look_up(host: str, port: int, resolver: Resolver) -> list[Address] | Refusal:
    if (literal := _literal(host)) is not None:
        return [literal]
    try:
        found = [ip_address(text) for text in await resolver(host, port)]
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError
        return Refusal(f"{host} does not resolve ({type(error).__name__})")
    return found or Refusal(f"{host} does not resolve (no address)")


def _fault(address: Address, *, allowed: bool, loopback_only: bool) -> str | None:
    """Return what forbids an address; None if it may be connected to."""
    if loopback_only and not address.is_loopback:
        return "not on this machine, and http is for this machine only"
    if allowed and _is_inner(address):
        return None
    return None if _is_global_unicast(address) else "no address of the public internet"


def _is_inner(address: Address) -> bool:
    """Tell whether it is of this machine or of a private network, which an entry of the allow-list opens."""
    if isinstance(address, IPv4Address):
        inner = address.is_loopback or any(address in network for network in _PRIVATE)
        return inner and not any(address in network for network in _V4_NEVER)
    inner = address == _LOOPBACK or address in _UNIQUE_LOCAL  # is_loopback: in newer Pythons ::ffff:127.0.0.1, too
    return inner and not any(address in network for network in _V6_NEVER)


def _is_global_unicast(address: Address) -> bool:
    """Tell by the ranges above and by Python's own list, which differs between its versions."""
    if isinstance(address, IPv4Address):
        return address.is_global and not any(address in network for network in _V4_NEVER)
    return address.is_global and address in _V6_UNICAST and not any(address in network for network in _V6_NEVER)


def _allowed(entry: str) -> Endpoint:
    parts = _split(f"https://{entry}")
    endpoint = _endpoint(parts, f"https://{entry}")
    if parts.path or parts.query or parts.port is None:
        raise ConfigError(f"{entry!r} must be host:port", where="allow-list")
    return endpoint


def _unusable(url: str, why: str) -> ConfigError:
    """Return the error without what may be secret in a URL: user, path and query."""
    shown = url.partition("?")[0].partition("#")[0]
    scheme, mark, rest = shown.partition("://")
    place = rest.partition("/")[0].rpartition("@")[2]
    shown = f"{scheme}{mark}{place}" if mark else "the URL"
    return ConfigError(f"cannot send to {shown[:200]!r}: {why}", hint="Give an https URL of your pipeline's endpoint.")
