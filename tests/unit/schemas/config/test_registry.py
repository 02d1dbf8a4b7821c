"""What a `schema_registry` section may say."""

from typing import Any

import pytest
from ingest_case import loop_with
from pydantic import ValidationError

from schemas.config.registry import SchemaRegistryConfig


def registry(**parts: Any) -> SchemaRegistryConfig:
    """Return the section of a loop."""
    found = loop_with(schema_registry={"url": "https://registry:8081", **parts}).schema_registry
    assert found is not None
    return found


def test_a_slash_at_the_end_is_dropped() -> None:
    """Paths are appended to the URL."""
    assert registry(url="http://127.0.0.1:8080/apis/ccompat/v7/").url == "http://127.0.0.1:8080/apis/ccompat/v7"
    assert loop_with().schema_registry is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"url": "registry:8081"}, "must be http://HOST or https://HOST"),
        ({"url": "file:///etc/passwd"}, "must be http://HOST or https://HOST"),
        ({"url": "https://me:pass@registry"}, "must not hold a user or a password"),
        ({"url": "https://registry?x=1"}, "must end before any ?"),
        ({"user": "me", "token_env": "TOKEN"}, "goes instead of `user`"),
        ({"key_file": "own.key"}, "goes with a `certificate_file`"),
        ({"url": "http://registry", "ca_file": "ca.pem"}, "is for https://"),
        ({"password": "pass"}, "password"),
    ],
)
def test_what_cannot_be_meant_is_refused(parts: dict[str, str], message: str) -> None:
    """With the field that is wrong."""
    with pytest.raises(ValidationError, match=message):
        registry(**parts)
