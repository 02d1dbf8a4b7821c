"""Access control of the page: allowed Host headers, the token, the origin of forms, and security headers.

A page on the loopback interface can be reached by every web site open in the reader's browser, through a host name
of that site that resolves to 127.0.0.1 (DNS rebinding). So a host name must be one of the page's own. An address
instead of a name is allowed: no other site can have it as its origin, and probes of a cluster use it.
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
        # with no-referrer a browser would send `Origin: null` with the page's own form
        "Referrer-Policy": "same-origin",
        "Cache-Control": "no-store",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    }
)
"""Sent with every response, errors included."""

CHALLENGE: Final = 'Basic realm="truthloop", charset="UTF-8"'

_TOKEN_MIN = 16


@dataclass(frozen=True)
class Access:
    """Who may open the page.

    Args:
        hosts: further host names of the page, besides `localhost` and addresses; without port.
        token: at least 16 characters; None: no token is needed.
        user_header: header in which a proxy sends the user it has authenticated; None: users are not authenticated.

    Raises:
        ValueError: the token is too short, or there is a `user_header` but no token, so anybody could send it.
    """

    hosts: tuple[str, ...] = ()
    token: str | None = None
    user_header: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < _TOKEN_MIN:
            raise ValueError(f"a token needs at least {_TOKEN_MIN} characters")
        if self.user_header is not None and self.token is None:
            raise ValueError("without a token anybody could send the header that names the user")

    def is_own_host(self, header: str | None) -> bool:
        """Return whether a Host header names this page."""
        host = _host_of(header or "")
        if not host:
            return False
        if host in {"localhost", *(_normalized(name) for name in self.hosts)}:
            return True
        try:
            ip_address(host)
        except ValueError:
            return False
        return True

    def admits(self, authorization: str | None) -> bool:
        """Return whether an Authorization header has the token: as Bearer, or as the password of Basic."""
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
    """Return whether a form can come from this page; a missing header is no objection.

    Args:
        host: the Host header.
        origins: all Origin headers. A browser sends one with each form, and a page of another site cannot change it.
        sites: all Sec-Fetch-Site headers.
    """
    if len(origins) > 1 or len(sites) > 1:
        return False
    if sites and sites[0].strip().lower() not in ("same-origin", "none"):
        return False
    if not origins:
        return True
    scheme, separator, authority = origins[0].strip().lower().partition("://")
    port = {"http": ":80", "https": ":443"}.get(scheme)
    if not separator or port is None or not host:
        return False
    # behind a proxy with TLS only the browser knows the scheme
    return authority.removesuffix(port) == host.strip().lower().removesuffix(port)


def _password(encoded: str) -> bytes:
    """Return the password of Basic credentials; b'' if there is none."""
    try:
        user_and_password = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return user_and_password.partition(b":")[2]


def _host_of(header: str) -> str:
    """Return the name or address in a Host header, without port and brackets; '' if it is malformed."""
    if header.startswith("["):
        address, bracket, port = header[1:].partition("]")
        return address if bracket and (not port or _is_port(port.removeprefix(":"))) else ""
    name, colon, port = header.partition(":")
    return "" if colon and not _is_port(port) else _normalized(name)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _normalized(name: str) -> str:
    return name.lower().removesuffix(".")
