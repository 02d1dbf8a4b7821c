"""Redacts features that are personal data before anything is stored.

`hash` keeps an HMAC-SHA256 under a secret key: equal values stay equal, and nobody can guess values without the key.
`drop` keeps nothing. Without a key (canonical messages, which their producer should have redacted) nothing is kept
either. The config says which features these are (`schemas.config.privacy`).
"""

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.config.privacy import PII_KEY_VARIABLE, redacted_features
from schemas.errors import ConfigError
from streams.columns.scalar import NON_SCALAR, to_text

__all__ = ["HASH_LENGTH", "Redaction", "pii_key"]

HASH_LENGTH: Final = 32
"""Hex digits that are kept of a hash: 128 bits, so that two values of a loop do not collide."""

KEY_BYTES_MIN: Final = 16
"""A shorter secret could be guessed."""


class Redaction:
    """Redacts the features of one loop.

    Args:
        config: names the features to redact.
        key: of the hashes; without a key, features to be hashed are dropped.
    """

    def __init__(self, config: LoopConfig, key: bytes | None = None) -> None:
        self._methods = redacted_features(config.predictions)
        self._key = key

    def hides(self, feature: str) -> bool:
        """Return whether a feature is hashed or dropped."""
        return feature in self._methods

    def hashes(self, feature: str) -> bool:
        """Return whether the hash of a feature is kept."""
        return self._methods.get(feature) == "hash" and self._key is not None

    def hashed(self, values: pl.Series) -> pl.Series:
        """Return the hash of each value's text; null where it is missing, a list or an object."""
        key = self._key
        if key is None:
            return pl.repeat(None, len(values), dtype=pl.String, eager=True)
        texts = to_text(values).to_list()
        # most values occur more than once in a chunk, and a hash costs more than a lookup
        known: dict[str | None, str | None] = {
            text: None if text is None or text.startswith(NON_SCALAR) else _hash(key, text) for text in set(texts)
        }
        return pl.Series([known[text] for text in texts], dtype=pl.String)


def pii_key(config: LoopConfig, environ: Mapping[str, str]) -> bytes | None:
    """Return the key of the hashes; None if the loop hashes nothing.

    Raises:
        ConfigError: a feature is to be hashed, and the key is missing or too short.
    """
    if "hash" not in redacted_features(config.predictions).values():
        return None
    file = environ.get(f"{PII_KEY_VARIABLE}_FILE")
    where = f"environment variable {PII_KEY_VARIABLE}{'_FILE' if file else ''}"
    if file:
        try:
            key = Path(file).read_bytes().strip(b"\r\n")
        except OSError as error:
            raise ConfigError(f"the file it names cannot be read: {error.strerror}", where=where) from None
    else:
        key = environ.get(PII_KEY_VARIABLE, "").encode()
    if len(key) < KEY_BYTES_MIN:
        methods = redacted_features(config.predictions)
        features = ", ".join(sorted(name for name, method in methods.items() if method == "hash"))
        state = f"has {len(key)} bytes, and a secret has at least {KEY_BYTES_MIN}" if key else "is not set"
        raise ConfigError(
            f"{state}; it is the key that hashes {features} (pii: hash)",
            where=where,
            hint="Make one (openssl rand -hex 32) and keep it: with another key the same value gets another hash.",
        )
    return key


def _hash(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()[:HASH_LENGTH]
