"""The single-use token of the form on which a person rules: who holds it has read this diff on this loop's page.

A token is 32 random bytes, the time at which it ends, and an HMAC-SHA256 over both and over what it is bound to.
It is kept nowhere: that it was used shows from the log, which holds its digest. Must not read a clock or a log.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from retrain.signing import Secret
from schemas.errors import TruthloopError
from schemas.events.backfill import Verdict

__all__ = ["NONCE_BYTES", "TTL_MS", "Bound", "Checked", "TokenError", "check_token", "keys_of", "make_token"]

TTL_MS = 72 * 3_600_000
"""Over a week-end; whoever takes longer reads the page again."""

NONCE_BYTES = 32
_TIME_BYTES = 8
_MAC_BYTES = 32
_BYTES = NONCE_BYTES + _TIME_BYTES + _MAC_BYTES
_CHARACTERS = _BYTES * 4 // 3
"""A multiple of four: no padding, and no bit of the last character that means nothing."""

_KEY_LABEL = b"truthloop: key of the forms on which people rule about backfills, version 1"


class TokenError(TruthloopError):
    """A token that this loop has not made for this form; the answer is 403. Holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a token holds for, and for nothing else.

    Attributes:
        loop: name of the loop.
        episode: id of the backfill.
        diff_sha256: digest of the diff that stood beside the form.
        verdicts: what can be ruled with it.
        user: whom a proxy named when the form was made; empty where none does.
    """

    loop: str
    episode: str
    diff_sha256: str
    verdicts: tuple[Verdict, ...]
    user: str = ""

    def document(self) -> bytes:
        """Return it as bytes; different ones never give the same, because each part has its length in front."""
        verdicts = ",".join(sorted(one.value for one in self.verdicts))
        parts = [
            one.encode("utf-8", "surrogatepass")
            for one in (self.loop, self.episode, self.diff_sha256, verdicts, self.user)
        ]
        return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


@dataclass(frozen=True, slots=True)
class Checked:
    """A token that this loop has made.

    Attributes:
        sha256: its digest, by which it is known once it was used.
        is_expired: whether its time is over.
    """

    sha256: str
    is_expired: bool


def keys_of(secret: Secret | None, http_token: str | None, random: bytes) -> tuple[bytes, ...]:
    """Return the keys for tokens: new ones are made with the first, each is good.

    All processes of a loop share what is configured, so each takes the tokens of the others. Where nothing is, a
    token holds in the process that made it, and until that ends.

    Args:
        secret: of the webhook, with one key or two; None without one.
        http_token: of the page; None without one.
        random: 32 random bytes of this process, for where nothing is shared.
    """
    if secret is not None:
        shared: Sequence[bytes] = secret.keys
    elif http_token is not None:
        shared = [http_token.encode("utf-8", "surrogatepass")]
    else:
        shared = [random]
    return tuple(hmac.digest(key, _KEY_LABEL, "sha256") for key in shared)


def make_token(keys: Sequence[bytes], bound: Bound, now_ms: int, nonce: bytes) -> str:
    """Return a new token: 96 characters that need no quoting.

    Args:
        keys: of `keys_of`.
        bound: what it is to hold for.
        now_ms: the time, in milliseconds since 1970.
        nonce: 32 random bytes, never the same twice.

    Raises:
        ValueError: the nonce is of another length.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
    head = nonce + (now_ms + TTL_MS).to_bytes(_TIME_BYTES, "big")
    return base64.urlsafe_b64encode(head + _mac(keys[0], head, bound)).decode("ascii")


def check_token(keys: Sequence[bytes], text: str, bound: Bound, now_ms: int) -> Checked:
    """Return what is known of a token that came back.

    Args:
        keys: of `keys_of`.
        text: as it came.
        bound: what the form that it came with is about.
        now_ms: the time, in milliseconds since 1970.

    Raises:
        TokenError: it was not made here, or for something else.
    """
    whole = _bytes(text)
    head, mac = whole[:-_MAC_BYTES], whole[-_MAC_BYTES:]
    # every key is tried, so that time tells nothing about which one it was
    matches = [hmac.compare_digest(_mac(key, head, bound), mac) for key in keys]
    if not any(matches):
        raise TokenError("the form's token was not made by this loop for this diff")
    ends_ms = int.from_bytes(head[NONCE_BYTES:], "big")
    return Checked(hashlib.sha256(whole).hexdigest(), now_ms >= ends_ms)


def _mac(key: bytes, head: bytes, bound: Bound) -> bytes:
    return hmac.digest(key, head + bound.document(), "sha256")


def _bytes(text: str) -> bytes:
    try:
        # the library takes + and / as well, and one token has one text
        if len(text) == _CHARACTERS and text.isascii() and not {"+", "/"} & set(text):
            return base64.b64decode(text, altchars=b"-_", validate=True)
    except binascii.Error:
        pass
    raise TokenError("the form's token is malformed")
