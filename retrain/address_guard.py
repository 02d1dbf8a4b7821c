"""Guard against server-side request forgery: resolves a host once, checks every address, and pins one to connect to.

What a host name resolves to is not under the config's control and may change between two queries (DNS rebinding), so
the sender connects to the checked address only. A URL that is never allowed is a `ConfigError`; one that only the
present DNS answer forbids is a `Refusal`, which is recorded and retried.
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
    "PinnedAddress",
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
"""Printable ASCII without the backslash, which URL parsers treat differently."""

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""With a last label like this, many parsers take the host for an IPv4 address: 2130706433, 127.1, 0x7f.1."""

_LOCAL_NAME = re.compile(r"(.+\.)?localhost")
"""Names that are this machine on every machine (RFC 6761)."""

_V4_NEVER = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network
        "169.254.0.0/16",  # link-local; clouds serve credentials at 169.254.169.254
        "192.0.0.0/24",  # protocol assignments, some of which Python calls global
        "192.88.99.0/24",  # relays of 6to4
        "224.0.0.0/4",  # multicast, which Python calls global
        "240.0.0.0/4",  # reserved and broadcast
        "100.100.100.200/32",  # a cloud's metadata service
    )
)
_V6_NEVER = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo, ORCHID and other protocol assignments
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
        "fd00:ec2::/32",  # a cloud's metadata service
    )
)
_V6_UNICAST = IPv6Network("2000::/3")
"""The range of global unicast. Outside of it are embedded IPv4 (::ffff:0:0/96, 64:ff9b::/96) and local addresses."""

_PRIVATE = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16"))
_UNIQUE_LOCAL = IPv6Network("fc00::/7")
_LOOPBACK = IPv6Address("::1")

Address = IPv4Address | IPv6Address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) -> all addresses as text; raises OSError if there are none."""


class Endpoint(NamedTuple):
    """A host in lower case, without brackets, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class PinnedAddress:
    """A URL whose host has been resolved to one checked address.

    Attributes:
        scheme: `https`, or `http` on this machine.
        host: name in the Host header and the certificate; without brackets.
        port: 1 to 65535.
        ip: the address to connect to.
        path: with its query; begins with a slash.
    """

    scheme: Literal["https", "http"]
    host: str
    port: int
    ip: str
    path: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be sent now. Holds no part of the URL but its host."""

    reason: str


def parse_allowed(entries: Iterable[str]) -> frozenset[Endpoint]:
    """Parse the allow-list of a config: `host:port` entries that may be in a private network or on this machine.

    Raises:
        ConfigError: an entry is not host:port.
    """
    return frozenset(_allowed(entry) for entry in entries)


async def resolve(url: str, allow: frozenset[Endpoint], resolver: Resolver) -> PinnedAddress | Refusal:
    """Resolve a URL to an address to connect to, or return why nothing may be sent there now.

    Every address must be global unicast. An endpoint of `allow` may also be private or loopback, but never link-local,
    multicast, unspecified or IPv4 embedded in IPv6.

    Args:
        url: an absolute https URL; http is for loopback endpoints in `allow`.
        allow: from `parse_allowed`.
        resolver: called once, and not for literal addresses.

    Raises:
        ConfigError: the URL is not allowed, whatever the resolver answers.
    """
    parts, (host, port) = _parse(url, allow)
    allowed, is_plain = Endpoint(host, port) in allow, parts.scheme == "http"
    found = await _addresses(host, port, resolver)
    if isinstance(found, Refusal):
        return found
    for address in found:
        if (fault := _fault(address, allowed=allowed, loopback_only=is_plain)) is not None:
            return Refusal(f"{host} resolves to {address}, which is {fault}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return PinnedAddress("http" if is_plain else "https", host, port, str(found[0]), path)


def check_url(url: str, allow: frozenset[Endpoint]) -> None:
    """Check a URL as far as that is possible without a resolver.

    Raises:
        ConfigError: as for `resolve`.
    """
    _parse(url, allow)


async def system_resolver(host: str, port: int) -> list[str]:
    """Resolve by the operating system; addresses are in the order that it prefers.

    Raises:
        OSError: the name is unknown, or no name server answers.
    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _split(url: str) -> SplitResult:
    if len(url) > URL_LENGTH_MAX or not _TEXT.fullmatch(url):
        raise _unusable(url, f"a URL is printable ASCII without spaces and backslashes, {URL_LENGTH_MAX} at most")
    if "#" in url:
        raise _unusable(url, "it has a fragment, which is never sent")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _unusable(url, "it cannot be parsed") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.netloc:
        raise _unusable(url, "it must begin with https:// and a host")
    if "@" in parts.netloc:
        raise _unusable(url, "it has a user or password; requests are signed instead")
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
        raise _unusable(where, "its host is neither an address nor a DNS name in ASCII (without a dot at its end)")


def _literal(host: str) -> Address | None:
    """Return the address if the host is a literal address in canonical form; None for names and all other forms."""
    try:
        return None if "%" in host else ip_address(host)
    except ValueError:
        return None


def _parse(url: str, allow: frozenset[Endpoint]) -> tuple[SplitResult, Endpoint]:
    parts = _split(url)
    endpoint = _endpoint(parts, url)
    is_plain = parts.scheme == "http"
    if is_plain and endpoint not in allow:
        raise _unusable(url, "http is for this machine only, if the allow-list has its host:port; use https")
    if _LOCAL_NAME.fullmatch(endpoint.host) and endpoint not in allow:
        raise _unusable(url, f"{endpoint.host} is this machine, and the allow-list does not have its host:port")
    literal = _literal(endpoint.host)
    fault = None if literal is None else _fault(literal, allowed=endpoint in allow, loopback_only=is_plain)
    if fault is not None:
        raise _unusable(url, f"{endpoint.host} is {fault}")
    return parts, endpoint


async def _addresses(host: str, port: int, resolver: Resolver) -> list[Address] | Refusal:
    if (literal := _literal(host)) is not None:
        return [literal]
    try:
        found = [ip_address(text) for text in await resolver(host, port)]
    except (OSError, ValueError) as error:  # UnicodeError is a ValueError
        return Refusal(f"{host} does not resolve ({type(error).__name__})")
    return found or Refusal(f"{host} does not resolve (no address)")


def _fault(address: Address, *, allowed: bool, loopback_only: bool) -> str | None:
    """Return why an address is forbidden; None if it is allowed."""
    if loopback_only and not address.is_loopback:
        return "not on this machine, and http is for this machine only"
    if allowed and _is_internal(address):
        return None
    return None if _is_global_unicast(address) else "not an address of the public internet"


def _is_internal(address: Address) -> bool:
    """Tell whether an address is loopback or private, which the allow-list can open."""
    if isinstance(address, IPv4Address):
        internal = address.is_loopback or any(address in network for network in _PRIVATE)
        return internal and not any(address in network for network in _V4_NEVER)
    # not is_loopback, which in newer Pythons includes ::ffff:127.0.0.1
    internal = address == _LOOPBACK or address in _UNIQUE_LOCAL
    return internal and not any(address in network for network in _V6_NEVER)


def _is_global_unicast(address: Address) -> bool:
    """Tell by the ranges above and by Python's own list, which differs between Python versions."""
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
    """Return an error that shows a URL without its user, path and query, which may be secret."""
    shown = url.partition("?")[0].partition("#")[0]
    scheme, separator, rest = shown.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    shown = f"{scheme}{separator}{host}" if separator else "the URL"
    return ConfigError(f"cannot send to {shown[:200]!r}: {why}", hint="Give an https URL of your pipeline's endpoint.")
