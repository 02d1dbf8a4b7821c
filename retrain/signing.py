"""Signatures of requests and callbacks by Standard Webhooks: HMAC-SHA256 over `id.timestamp.body`. Pure.

The library `standardwebhooks` computes the signatures. Verification is done here, because the library reads its own
clock, raises errors of other kinds for malformed headers, and accepts secrets of any length.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from standardwebhooks.webhooks import Webhook

from schemas.errors import ConfigError, TruthloopError

__all__ = ["TOLERANCE_S", "Secret", "SignatureError", "Signed", "read_secret", "sign", "verify"]

TOLERANCE_S = 300
"""Greatest distance of a timestamp from the receiver's clock; an older message may be a replay attack."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix is public, what follows it is not
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
KEYS_MAX = 2
"""The current secret, and the next or previous one during a rotation."""

SECRET_FILE_BYTES_MAX = 4_096
SIGNATURES_MAX = 16
"""A sender that rotates its secret sends two."""

_ID = re.compile(r"[!-\-/-~]{1,256}")
"""Visible ASCII without the full stop, which separates id and timestamp in the signed text."""

_TIMESTAMP = re.compile(r"[1-9][0-9]{0,10}")
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class SignatureError(TruthloopError):
    """The signature of a message is missing or invalid; the answer is 401. Holds no part of secret or body."""


@dataclass(frozen=True, slots=True)
class Secret:
    """Shared secret of an endpoint and its callers.

    Attributes:
        keys: 24 to 64 bytes each; two during a rotation. Never in a repr.
    """

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, where: str = "") -> "Secret":
        """Parse one secret, or two with white space between; a secret is `whsec_` and base64.

        Args:
            text: may come from a file or a variable.
            where: source of the text, for the error.

        Raises:
            ConfigError: the secret is missing or malformed; the message does not repeat it.
        """
        parts = text.split()
        if not 1 <= len(parts) <= KEYS_MAX:
            held = f"holds {len(parts)} webhook secrets" if parts else "holds no webhook secret"
            raise ConfigError(
                f"{held}; one is needed, or two during a rotation",
                where=where,
                hint="Make one: echo whsec_$(openssl rand -base64 32)",
            )
        return cls(tuple(_key(part, where) for part in parts))


@dataclass(frozen=True, slots=True)
class Signed:
    """Identity of a verified message.

    Attributes:
        id: the same in all repeats of a message, for deduplication.
        timestamp_s: when this repeat was signed, in seconds since 1970.
    """

    id: str
    timestamp_s: int


def read_secret(name: str, environ: Mapping[str, str]) -> Secret:
    """Return the secret from the variable `name`, or from the file that `name`_FILE names.

    Raises:
        ConfigError: there is none, or it is malformed.
    """
    if file := environ.get(f"{name}_FILE"):
        where = f"environment variable {name}_FILE"
        try:
            with Path(file).open("rb") as stream:
                text = stream.read(SECRET_FILE_BYTES_MAX).decode("ascii")
        except OSError as error:
            raise ConfigError(f"the file it names cannot be read: {error.strerror}", where=where) from None
        except UnicodeDecodeError:
            raise ConfigError("the file it names is not ASCII text", where=where) from None
        return Secret.parse(text, where)
    return Secret.parse(environ.get(name, ""), f"environment variable {name}")


def sign(secret: Secret, id_: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message.

    Args:
        secret: with two keys, two signatures are made.
        id_: the same at every attempt.
        timestamp_s: of this attempt, in seconds since 1970.
        body: as it is sent, in UTF-8.

    Raises:
        ValueError: the id has other characters or is too long, or the body is not UTF-8.
    """
    if not _ID.fullmatch(id_):
        raise ValueError("an id is 1 to 256 visible ASCII characters without a full stop")
    at, text = datetime.fromtimestamp(timestamp_s, UTC), body.decode("utf-8")
    signatures = [Webhook(key).sign(id_, at, text) for key in secret.keys]
    return dict(zip(_HEADERS, (id_, str(timestamp_s), " ".join(signatures)), strict=True))


def verify(
    headers: Mapping[str, str], body: bytes, secret: Secret, now_s: int, tolerance_s: int = TOLERANCE_S
) -> Signed:
    """Verify a message and return its identity. Deduplication is up to the caller.

    Args:
        headers: names in upper or lower case; other headers are ignored.
        body: as it was received.
        secret: any of its keys may have signed.
        now_s: the receiver's time, in seconds since 1970.
        tolerance_s: greatest distance of the timestamp from `now_s`, either way.

    Raises:
        SignatureError: the message is not signed correctly; no input raises another error.
    """
    id_, timestamp, signature = _read_headers(headers)
    if not _ID.fullmatch(id_):
        raise SignatureError("webhook-id is malformed")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError("webhook-timestamp is not a whole number of seconds")
    timestamp_s = int(timestamp)
    if abs(now_s - timestamp_s) > tolerance_s:
        age = "old" if timestamp_s < now_s else "far in the future"
        raise SignatureError(f"webhook-timestamp is too {age}", hint=f"At most {tolerance_s} s; compare the clocks.")
    given = _read_signatures(signature)
    try:
        expected = sign(secret, id_, timestamp_s, body)["webhook-signature"]
    except (ValueError, OverflowError, OSError):
        raise SignatureError("the body is not UTF-8, or the timestamp is not a date") from None
    # every pair is compared, so that timing does not reveal which key or signature matched
    matches = [hmac.compare_digest(ours, theirs) for ours in _read_signatures(expected) for theirs in given]
    if not any(matches):
        raise SignatureError("no signature matches", hint="The secrets differ, or the message was changed.")
    return Signed(id_, timestamp_s)


def _key(part: str, where: str) -> bytes:
    text = part.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # some secrets lack the padding
    except ValueError:
        key = b""
    if not part.startswith(SECRET_PREFIX) or not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
        raise ConfigError(
            f"must be {SECRET_PREFIX} and {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} random bytes in base64",
            where=where,
            hint="Make one: echo whsec_$(openssl rand -base64 32)",
        )
    return key


def _read_headers(headers: Mapping[str, str]) -> list[str]:
    found: dict[str, str] = {}
    for name, value in headers.items():
        if (lowered := name.lower()) not in _HEADERS:
            continue
        if lowered in found:
            raise SignatureError(f"{lowered} is given twice")
        found[lowered] = value
    if missing := [name for name in _HEADERS if not found.get(name)]:
        raise SignatureError(f"{missing[0]} is missing")
    return [found[name] for name in _HEADERS]


def _read_signatures(header: str) -> list[bytes]:
    """Return the signatures of version 1, still in base64: only the canonical text of a signature matches."""
    entries = header.split(" ")
    if len(entries) > SIGNATURES_MAX:
        raise SignatureError(f"webhook-signature holds more than {SIGNATURES_MAX} signatures")
    found = []
    for entry in entries:
        version, comma, value = entry.partition(",")
        if not comma:
            raise SignatureError("webhook-signature is malformed")
        if version == "v1":
            found.append(value.encode(errors="replace"))
    if not found:
        raise SignatureError("webhook-signature holds no signature of version v1")
    return found
