"""Reads a secret from an environment variable, or from the file that the variable with the suffix `_FILE` names."""

from collections.abc import Mapping
from pathlib import Path

from schemas.errors import ConfigError

__all__ = ["read_credential", "secret_value"]

CREDENTIAL_LENGTH_MAX = 8_192
"""Tokens of some identity providers have several thousand characters."""


def secret_value(name: str, environ: Mapping[str, str], length: int = -1) -> str | None:
    """Return a secret, of a file without line breaks around it; None if neither variable is set, or it is empty.

    Args:
        length: so many characters are read of a file at most; -1: all.

    Raises:
        ConfigError: the file cannot be read, or is not UTF-8 text.
    """
    file = environ.get(f"{name}_FILE")
    if not file:
        return environ.get(name) or None
    where = f"environment variable {name}_FILE"
    try:
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(length).strip("\r\n") or None
    except OSError as error:
        raise ConfigError(f"the file it names cannot be read: {error.strerror}", where=where) from None
    except UnicodeDecodeError:
        raise ConfigError("the file it names is not UTF-8 text", where=where) from None


def read_credential(name: str, environ: Mapping[str, str]) -> str:
    """Return the password or token from the variable `name`, or from the file that `name`_FILE names.

    Raises:
        ConfigError: there is none, or it has characters that a header cannot hold; the message does not repeat it.
    """
    where = f"environment variable {name}{'_FILE' if environ.get(f'{name}_FILE') else ''}"
    text = (secret_value(name, environ, CREDENTIAL_LENGTH_MAX + 2) or "").strip("\r\n")
    if not text.strip():
        raise ConfigError(
            "holds no password or token", where=where, hint=f"Set {name}, or {name}_FILE to a file's name."
        )
    if len(text) > CREDENTIAL_LENGTH_MAX or not text.isprintable():
        raise ConfigError("is not a password or token: it has control characters, or is far too long", where=where)
    return text
