"""Reads a secret from an environment variable, or from the file that the variable with the suffix `_FILE` names."""

from collections.abc import Mapping
from pathlib import Path

from schemas.errors import ConfigError

__all__ = ["secret_value"]


def secret_value(environ: Mapping[str, str], variable: str) -> str | None:
    """Return a secret without line breaks around it; None if neither variable is set, or the value is empty.

    Raises:
        ConfigError: the file cannot be read, or is not UTF-8 text.
    """
    file = environ.get(f"{variable}_FILE")
    if not file:
        return environ.get(variable) or None
    where = f"environment variable {variable}_FILE"
    try:
        return Path(file).read_text("utf-8").strip("\r\n") or None
    except OSError as error:
        raise ConfigError(f"the file it names cannot be read: {error.strerror}", where=where) from None
    except UnicodeDecodeError:
        raise ConfigError("the file it names is not UTF-8 text", where=where) from None
