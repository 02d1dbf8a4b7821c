"""What the mapping of a loop needs beside its config: the functions that map whole records, and the redaction.

Made once, at the start, so that what is missing is said before anything is read. Must not map.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.config.loop import LoopConfig
from schemas.config.mapping import SourceMap
from schemas.config.privacy import redacted_features
from schemas.errors import ConfigError
from streams.mapping.redaction import Redaction, pii_key
from streams.readers.hook import Hook, load_hook

__all__ = ["MappingTools", "mapping_tools", "plain_tools"]


@dataclass(frozen=True)
class MappingTools:
    """See the module.

    Attributes:
        redaction: of the loop's features.
        hooks: functions by their names in the config.
    """

    redaction: Redaction
    hooks: Mapping[str, Hook] = field(default_factory=dict)

    def hook_of(self, source: SourceMap | None) -> Hook | None:
        """Return the function that maps a source's records; None where paths do, or nothing has to."""
        return None if source is None or source.hook is None else self.hooks[source.hook]


def mapping_tools(config: LoopConfig, environ: Mapping[str, str], folder: Path) -> MappingTools:
    """Return what the mapping of a loop needs.

    Args:
        config: the loop's.
        environ: holds the key of hashed features, or names its file.
        folder: the config's own; modules are looked for there, too.

    Raises:
        ConfigError: the key is missing, or a function cannot be had.
    """
    key = pii_key(config, environ)
    names = {source.hook for source in config.ingest if source.hook is not None}
    return MappingTools(Redaction(config, key), {name: load_hook(name, folder) for name in sorted(names)})


def plain_tools(config: LoopConfig, source: SourceMap | None) -> MappingTools:
    """Return what is enough for records that need no function and no secret.

    Raises:
        ConfigError: these need more.
    """
    if (source is not None and source.hook is not None) or "hash" in redacted_features(config).values():
        where = "ingest" if source is None else f"source {source.title}"
        raise ConfigError("records cannot be mapped without `mapping_tools`", where=where)
    return MappingTools(Redaction(config))
