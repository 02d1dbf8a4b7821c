"""Only who reads topics needs the registry, and the secret that it asks for."""

from pathlib import Path

import pytest
from ingest_case import loop_with

from schemas.errors import ConfigError
from streams.mapping.tools import mapping_tools
from streams.registry.topic_tools import topic_tools

CONFIG = loop_with(schema_registry={"url": "http://localhost", "user": "me"})


def test_files_are_mapped_without_the_registry() -> None:
    """A nightly replay has no password of it."""
    assert mapping_tools(CONFIG, {}, Path()).format.texts([b"{}"]) == ([b"{}"], {})


def test_a_missing_password_is_said_before_anything_is_read() -> None:
    """By the name of its variable."""
    with pytest.raises(ConfigError, match="TRUTHLOOP_SCHEMA_REGISTRY_PASSWORD"):
        topic_tools(CONFIG, {}, Path())
