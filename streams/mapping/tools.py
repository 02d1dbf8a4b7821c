"""The hooks, the redaction and the formats of a loop: what its mapping needs in addition to the config.

They are loaded once at the start, so that a missing module or key is reported before anything is read.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from schemas.config.privacy import redacted_features
from schemas.errors import ConfigError
from streams.mapping.redaction import Redaction, pii_key
from streams.readers.format import ValueFormat
from streams.readers.hook import Hook, load_hook

__all__ = ["MappingTools", "mapping_tools", "plain_tools"]


@dataclass(frozen=True)
class MappingTools:
    """What a mapping works with.

    Attributes:
        hooks: functions by their names in the config.
        format: how the values and keys of topics are read.
        own_formats: how the values of topics with a schema of their own are read, by topic.
    """

    redaction: Redaction
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    format: ValueFormat = field(default_factory=ValueFormat)
    own_formats: Mapping[str, ValueFormat] = field(default_factory=dict)

    def format_of(self, topic: str) -> ValueFormat:
        """Return how the values of a topic are read."""
        return self.own_formats.get(topic, self.format)

    def hook_of(self, source: SourceMap | None) -> Hook | None:
        """Return a source's hook; None if it maps by paths, or is canonical."""
        return None if source is None or source.hook is None else self.hooks[source.hook]


def mapping_tools(config: LoopConfig, environ: Mapping[str, str], folder: Path) -> MappingTools:
    """Load the hooks and the key of a loop.

    Args:
        config: names hooks and features to redact.
        environ: has the key of hashed features, or the name of its file.
        folder: of the config; modules with hooks are searched there, too.

    Raises:
        ConfigError: the key is missing, or a hook cannot be imported.
    """
    key = pii_key(config, environ)
    names = {source.hook for source in config.ingest if source.hook is not None}
    return MappingTools(Redaction(config, key), {name: load_hook(name, folder) for name in sorted(names)})


def plain_tools(config: LoopConfig, source: SourceMap | None) -> MappingTools:
    """Return the tools of records that need no hook and no key.

    Raises:
        ConfigError: the source has a hook, or the loop hashes features.
    """
    if (source is not None and source.hook is not None) or "hash" in redacted_features(config.predictions).values():
        where = "ingest" if source is None else f"source {source.title}"
        raise ConfigError("records cannot be mapped without `mapping_tools`", where=where)
    return MappingTools(Redaction(config))
