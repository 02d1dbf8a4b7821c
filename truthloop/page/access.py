"""Who may ask: the host that a request names, the token it carries, and the headers of every answer.

A page on the loopback interface can be reached by every web site that the reader's browser has open, under a
name of that site's own that resolves to 127.0.0.1. So the name must be one of ours. An address instead of a
name is let through: no other site can have it as its origin, and probes of a cluster use it.
This module must not know what is answered.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

__all__ = ["CHALLENGE", "SECURITY_HEADERS", "Access"]

SECURITY_HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Content-Security-Policy": "default-src 'none'; script-src 'none'; style-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
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

    Raises:
        ValueError: the token is too short to be a secret.
    """

    hosts: tuple[str, ...] = ()
    token: str | None = None

    def __post_init__(self) -> None:
        if self.token is not None and len(self.token) < _TOKEN_MIN:
            raise ValueError(f"a token needs at least {_TOKEN_MIN} characters")

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
