"""Single-use token of the form on which a person rules about a backfill: proof that this diff was shown by this loop.

A token is a nonce and its expiry time in milliseconds, signed by itsdangerous (HMAC-SHA256). What it is bound to goes
into the signature's salt and not into the token. Tokens are stored nowhere: the gate's log holds the digests of used
ones.
"""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from itsdangerous import BadData, Signer
from itsdangerous.encoding import base64_decode, base64_encode

from retrain.signing import Secret
from schemas.errors import TruthloopError
from schemas.events.backfill import Verdict

__all__ = [
    "NONCE_BYTES",
    "TTL_MS",
    "CheckedToken",
    "TokenBinding",
    "TokenError",
    "check_token",
    "make_token",
    "token_keys",
]

TTL_MS = 72 * 3_600_000
"""A form stays valid over a weekend; after that the page has to be opened again."""

NONCE_BYTES = 32
_KEY_LABEL = b"truthloop: key of the forms on which people rule about backfills, version 1"


class TokenError(TruthloopError):
    """A token that this loop did not make for this form; the answer is 403. Holds no part of the token."""


@dataclass(frozen=True, slots=True)
class TokenBinding:
    """What a token is valid for.

    Attributes:
        episode: id of the backfill.
        diff_sha256: digest of the diff that is shown with the form.
        verdicts: the verdicts that the form offers, in any order.
        user: the user named by a proxy when the form was made; empty without a proxy.
    """

    loop: str
    episode: str
    diff_sha256: str
    verdicts: tuple[Verdict, ...]
    user: str = ""

    def salt(self) -> str:
        """Return the binding as ASCII text; different bindings give different texts, because every part is quoted."""
        verdicts = sorted(one.value for one in self.verdicts)
        return ascii((self.loop, self.episode, self.diff_sha256, verdicts, self.user))


@dataclass(frozen=True, slots=True)
class CheckedToken:
    """A token with a valid signature; `sha256` is the digest by which the log knows a used one."""

    sha256: str
    is_expired: bool


def token_keys(secret: Secret | None, http_token: str | None, random: bytes) -> tuple[bytes, ...]:
    """Return the signing keys: new tokens are signed with the first, all of them verify.

    They are derived from what all processes of a loop share, so that each accepts the tokens of the others: the
    webhook's secret, or the token of the page. Without either, tokens are valid in this process only, by `random`.
    """
    own = random if http_token is None else http_token.encode("utf-8", "surrogatepass")
    shared = (own,) if secret is None else secret.keys
    return tuple(hmac.digest(key, _KEY_LABEL, "sha256") for key in shared)


def make_token(keys: Sequence[bytes], binding: TokenBinding, now_ms: int, nonce: bytes) -> str:
    """Return a new token: `nonce.expiry.signature` in letters, digits, `-` and `_`.

    Raises:
        ValueError: the nonce has not 32 bytes.
    """
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes")
    payload = base64_encode(nonce) + b".%d" % (now_ms + TTL_MS)
    return _signer(keys, binding).sign(payload).decode("ascii")


def check_token(keys: Sequence[bytes], text: str, binding: TokenBinding, now_ms: int) -> CheckedToken:
    """Verify a token that was received with the form of `binding`.

    Raises:
        TokenError: it was not made by this loop, or for another form.
    """
    try:
        payload = _signer(keys, binding).unsign(text)
        signature = text.rpartition(".")[2]
        is_canonical = base64_encode(base64_decode(signature)).decode("ascii") == signature
    except (BadData, UnicodeEncodeError):
        is_canonical = False
    if not is_canonical:  # base64 decoders accept several texts for the same bytes, and one token has one text
        raise TokenError("the form's token was not made by this loop for this diff")
    expires_ms = int(payload.rpartition(b".")[2])
    return CheckedToken(hashlib.sha256(payload).hexdigest(), now_ms >= expires_ms)


def _signer(keys: Sequence[bytes], binding: TokenBinding) -> Signer:
    # itsdangerous signs with the last key; its defaults are SHA-1 and a key derivation without HMAC
    return Signer(keys[::-1], salt=binding.salt(), key_derivation="hmac", digest_method=hashlib.sha256)
