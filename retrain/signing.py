"""Signatures of requests and callbacks, as Standard Webhooks has them: HMAC-SHA256 over `id.timestamp.body`.

The library makes the signatures, and receivers verify with it. What it leaves open is closed here: it reads a
clock of its own, lets errors of other kinds through where a header is malformed, and takes any secret.
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md

Must not read a clock, log, or show a secret.
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
"""How far a timestamp may lie from the receiver's clock: what is older may have been recorded and sent again."""

SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix is public, what follows it is not
SECRET_BYTES_MIN = 24
SECRET_BYTES_MAX = 64
KEYS_MAX = 2
"""The secret in use, and its follower or forerunner while it is changed."""

SECRET_FILE_BYTES_MAX = 4_096
SIGNATURES_MAX = 16
"""A sender that changes its secret sends two."""

_ID = re.compile(r"[!-\-/-~]{1,256}")
"""Visible ASCII without the full stop, which parts the id from the timestamp in what is signed."""

_TIMESTAMP = re.compile(r"[1-9][0-9]{0,10}")
_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


class SignatureError(TruthloopError):
    """A message is not signed as it should be; the answer to it is 401. Holds nothing of secret or body."""


@dataclass(frozen=True, slots=True)
class Secret:
    """What one endpoint and its callers share: a key, or two while one takes over from the other.

    Attributes:
        keys: 24 to 64 bytes each; never in a repr.
    """

    keys: tuple[bytes, ...] = field(repr=False)

    @classmethod
    def parse(cls, text: str, where: str = "") -> "Secret":
        """Read `whsec_` and base64, once, or twice with white space between.

        Args:
            text: the secret as it is handed around.
            where: where it comes from, for the error.

        Raises:
            ConfigError: it is missing or malformed; the message does not repeat it.
        """
        words = text.split()
        if not 1 <= len(words) <= KEYS_MAX:
            held = f"holds {len(words)} webhook secrets" if words else "holds no webhook secret"
            raise ConfigError(
                f"{held}, and one is needed, or two while it is changed",
                where=where,
                hint="Make one: echo whsec_$(openssl rand -base64 32)",
            )
        return cls(tuple(_key(word, where) for word in words))


@dataclass(frozen=True, slots=True)
class Signed:
    """What a good signature stands for.

    Attributes:
        id: the same in all repeats of a message; whoever acts on it acts once.
        timestamp_s: when this repeat was signed, in seconds since 1970.
    """

    id: str
    timestamp_s: int


def read_secret(name: str, environ: Mapping[str, str]) -> Secret:
    """Return the secret that the variable `name` holds, or the file that `name`_FILE names.

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
            raise ConfigError("the file it names is no text in ASCII", where=where) from None
        return Secret.parse(text, where)
    return Secret.parse(environ.get(name, ""), f"environment variable {name}")


def sign(secret: Secret, id_: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message.

    Args:
        secret: of the endpoint; with two keys there are two signatures.
        id_: the same at every attempt.
        timestamp_s: of this attempt, in seconds since 1970.
        body: the bytes as they are sent, UTF-8.

    Raises:
        ValueError: an id that no receiver would take, or a body that is not UTF-8.
    """
    if not _ID.fullmatch(id_):
        raise ValueError("an id is 1 to 256 visible ASCII characters without a full stop")
    at, text = datetime.fromtimestamp(timestamp_s, UTC), body.decode("utf-8")
    signatures = [Webhook(key).sign(id_, at, text) for key in secret.keys]
    return dict(zip(_HEADERS, (id_, str(timestamp_s), " ".join(signatures)), strict=True))


def verify(
    headers: Mapping[str, str], body: bytes, secret: Secret, now_s: int, tolerance_s: int = TOLERANCE_S
) -> Signed:
    """Check a message, and return which one it is. That it was seen before is for the caller to know.

    Args:
        headers: as they came, in any case of letters; others are ignored.
        body: as it came.
        secret: any of its keys may have signed.
        now_s: the receiver's time, in seconds since 1970.
        tolerance_s: how far the timestamp may lie from it, either way.

    Raises:
        SignatureError: and nothing else, whatever came.
    """
    id_, timestamp, signature = _read_headers(headers)
    if not _ID.fullmatch(id_):
        raise SignatureError("webhook-id is malformed")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise SignatureError("webhook-timestamp is no whole number of seconds")
    timestamp_s = int(timestamp)
    if abs(now_s - timestamp_s) > tolerance_s:
        age = "old" if timestamp_s < now_s else "far in the future"
        raise SignatureError(f"webhook-timestamp is too {age}", hint=f"At most {tolerance_s} s; compare the clocks.")
    given = _read_signatures(signature)
    try:
        expected = sign(secret, id_, timestamp_s, body)["webhook-signature"]
    except (ValueError, OverflowError, OSError):
        raise SignatureError("the body is not UTF-8, or the timestamp no date") from None
    # every pair is compared, so that time tells nothing about which key or which signature it was
    matches = [hmac.compare_digest(ours, theirs) for ours in _read_signatures(expected) for theirs in given]
    if not any(matches):
        raise SignatureError("no signature matches", hint="The secret is another one, or the message was changed.")
    return Signed(id_, timestamp_s)


def _key(word: str, where: str) -> bytes:
    text = word.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)  # some leave the padding out
    except ValueError:
        key = b""
    if not word.startswith(SECRET_PREFIX) or not SECRET_BYTES_MIN <= len(key) <= SECRET_BYTES_MAX:
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
            raise SignatureError(f"{lowered} is there twice")
        found[lowered] = value
    if missing := [name for name in _HEADERS if not found.get(name)]:
        raise SignatureError(f"{missing[0]} is missing")
    return [found[name] for name in _HEADERS]


def _read_signatures(header: str) -> list[bytes]:
    """Return the signatures of version 1 as base64, because several texts of it stand for the same bytes."""
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
