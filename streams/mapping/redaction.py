"""What becomes of features that are personal data, before anything of them is written anywhere.

`hash` keeps an HMAC-SHA256 under a secret key, so that equal values stay equal and nobody can try values out
without the key; `drop` keeps nothing. Without a key (where messages are read that should have been redacted by
who wrote them) nothing is kept either. Must not decide which features these are.
"""

import hmac
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import polars as pl

from schemas.config.loop import LoopConfig
from schemas.config.privacy import PII_KEY_VARIABLE, redacted_features
from schemas.errors import ConfigError
from streams.columns.scalar import MARK, to_text

__all__ = ["HASH_LENGTH", "Redaction", "pii_key"]

HASH_LENGTH: Final = 32
"""Hex digits that are kept of a hash: 128 bits, so that no two values of a loop meet."""

KEY_BYTES_MIN: Final = 16
"""A shorter secret could be found by trying."""


class Redaction:
    """Redacts the features of one loop.

    Args:
        config: the loop's.
        key: of the hashes; None where nothing that has to be hashed may be kept.
    """

    def __init__(self, config: LoopConfig, key: bytes | None = None) -> None:
        self._ways = redacted_features(config)
        self._key = key

    def hides(self, feature: str) -> bool:
        """Tell whether a feature is not kept as it is."""
        return feature in self._ways

    def hashes(self, feature: str) -> bool:
        """Tell whether a hash is kept of a feature."""
        return self._ways.get(feature) == "hash" and self._key is not None

    def hashed(self, values: pl.Series) -> pl.Series:
        """Return the hash of each value's text; null where there is none or it is no single value."""
        key = self._key
        if key is None:
            return pl.repeat(None, len(values), dtype=pl.String, eager=True)
        texts = to_text(values).to_list()
        # a chunk has most values more than once, and a hash takes longer than a look
        known: dict[str | None, str | None] = {
            text: None if text is None or text.startswith(MARK) else _hash(key, text) for text in set(texts)
        }
        return pl.Series([known[text] for text in texts], dtype=pl.String)


def pii_key(config: LoopConfig, environ: Mapping[str, str]) -> bytes | None:
    """Return the key of the hashes; None where the loop hashes nothing.

    Raises:
        ConfigError: a feature is to be hashed, and there is no key, or one that is no secret.
    """
    if "hash" not in redacted_features(config).values():
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
        named = ", ".join(sorted(name for name, way in redacted_features(config).items() if way == "hash"))
        state = f"has {len(key)} bytes, and a secret has at least {KEY_BYTES_MIN}" if key else "is not set"
        raise ConfigError(
            f"{state}; it is the key that hashes {named} (pii: hash)",
            where=where,
            hint="Make one (openssl rand -hex 32) and keep it: with another key the same value gets another hash.",
        )
    return key


def _hash(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()[:HASH_LENGTH]
