"""What the mapping of a loop's topics needs: that of its files, and the schemas of a registry."""

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from schemas.config.loop import LoopConfig
from schemas.config.registry import SchemaRegistryConfig
from streams.mapping.tools import MappingTools, mapping_tools
from streams.readers.format import ValueFormat
from streams.readers.schema_file import schema_file_format
from streams.registry.catalog import RegistryCatalog
from streams.registry.client import RegistryClient
from streams.registry.schemas import UNKNOWN_FOR_S, RegistryDecoders

__all__ = ["registry_catalog", "registry_format", "topic_tools"]


def topic_tools(
    config: LoopConfig, environ: Mapping[str, str], folder: Path, patience_s: float = UNKNOWN_FOR_S
) -> MappingTools:
    """Load the tools of a loop, and get ready to ask its registry, if it has one.

    Args:
        config: names hooks, features to redact, and the registry.
        environ: has the secrets, or the names of their files.
        folder: of the config; modules with hooks are searched there, too.
        patience_s: how long a schema that the registry does not know is waited for.

    Raises:
        ConfigError: a secret is missing, a hook cannot be imported, or a schema file or certificate cannot be used.
    """
    registry = config.schema_registry
    own = {
        source.topic: schema_file_format(source.value_schema, folder)
        for source in config.ingest
        if source.topic is not None and source.value_schema is not None
    }
    tools = replace(mapping_tools(config, environ, folder), own_formats=own)
    if registry is None:
        return tools
    return replace(tools, format=registry_format(registry, environ, folder, patience_s))


def registry_format(
    registry: SchemaRegistryConfig, environ: Mapping[str, str], folder: Path, patience_s: float
) -> ValueFormat:
    """Return what reads values by the schemas of a registry; the arguments and errors are those of `topic_tools`."""
    return ValueFormat(RegistryDecoders(RegistryClient(registry, environ, folder), time.monotonic, patience_s))


def registry_catalog(
    registry: SchemaRegistryConfig, environ: Mapping[str, str], folder: Path, form: ValueFormat
) -> RegistryCatalog:
    """Return what names the schemas of values that `form` reads; else as `topic_tools`."""
    return RegistryCatalog(RegistryClient(registry, environ, folder), form)
