"""Who may ask: the host that a request names, the token it carries, and the headers of every answer.

A page on the loopback interface can be reached by every web site that the reader's browser has open, under a
name of that site's own that resolves to 127.0.0.1. So the name must be one of ours. An address instead of a
name is let through: no other site can have it as its origin, and probes of a cluster use it.
This module must not know what is answered.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

__all__ = ["CHALLENGE", "SECURITY_HEADERS", "Access", "is_own_form"]

SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'none'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        # not no-referrer, with which a browser would say `Origin: null` of the page's own form
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
)
"""Of every answer, errors too."""

CHALLENGE: Final = 'Basic realm="truthloop", charset="UTF-8"'

_TOKEN_MIN = 16


@dataclass(frozen=True)
class Access:
    """Who is let in.

    Args:
        hosts: names under which the page may be asked for, besides `localhost` and addresses; without port.
        token: what a reader has to know, at least 16 characters; None: nothing.
        user_header: in which a proxy names the user it has authenticated; None: nobody is authenticated.

    Raises:
        ValueError: the token is too short to be a secret, or anybody could claim to be the proxy.
    """

    hosts: tuple[str, ...] = ()
    token: str | None = None
    user_header: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < _TOKEN_MIN:
            raise ValueError(f"a token needs at least {_TOKEN_MIN} characters")
        if self.user_header is not None and self.token is None:
            raise ValueError("without a token anybody could name a user as the proxy does")

    def knows_host(self, header: str | None) -> bool:
        """Return whether a Host header names this page."""
        host = _host_of(header or "")
        if not host:
            return False
        if host in {"localhost", *(_bare(name) for name in self.hosts)}:
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def admits(self, authorization: str | None) -> bool:
        """Return whether an Authorization header carries the token: as Bearer, or as the password of Basic."""
        if self.token is None:
            return True
        scheme, _, rest = (authorization or "").partition(" ")
        given = b""
        if scheme.lower() == "bearer":
            given = rest.strip().encode("utf-8", "surrogateescape")
        elif scheme.lower() == "basic":
            given = _password(rest.strip())
        return hmac.compare_digest(given, self.token.encode())


def is_own_form(host: str | None, origins: Sequence[str], sites: Sequence[str]) -> bool:
    """Return whether a request that changes something can come from a page of ours; of what is missing nothing is said.

    Args:
        host: the Host header.
        origins: every Origin header. A browser sends one with each form; a page of another site cannot change it.
        sites: every Sec-Fetch-Site header.
    """
    if len(origins) > 1 or len(sites) > 1:
        return False
    if sites and sites[0].strip().lower() not in ("same-origin", "none"):
        return False
    if not origins:
        return True
    scheme, mark, place = origins[0].strip().lower().partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme)
    if not mark or port is None or not host:
        return False
    # behind a proxy with TLS only the browser knows the scheme
    return place.removesuffix(port) == host.strip().lower().removesuffix(port)


def _password(encoded: str) -> bytes:
    """Return the password of Basic credentials, b'' where there is none."""
    try:
        user_and_password = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return user_and_password.partition(b":")[2]


def _host_of(header: str) -> str:
    """Return the name or address in a Host header, without port and brackets; '' if it is none."""
    if header.startswith("["):
        address, bracket, port = header[1:].partition("]")
        return address if bracket and (not port or _is_port(port.removeprefix(":"))) else ""
    name, colon, port = header.partition(":")
    return "" if colon and not _is_port(port) else _bare(name)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _bare(name: str) -> str:
    return name.lower().removesuffix(".")
