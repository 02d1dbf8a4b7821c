"""Checks a map against the schemas of a registry: a newer version may lack what it reads, or mean something else."""

from collections.abc import Iterator, Sequence

from schemas.config.loop import LoopConfig
from streams.registry.catalog import SchemaUse
from truthloop.onboarding.check.issue import Issue, issue

__all__ = ["check_schemas", "paths_read", "schema_lines"]

PATHS_SHOWN = 8


def paths_read(topic: str, config: LoopConfig) -> list[str]:
    """Return the paths in a topic's values that its sources read, each once; of a group of fields the fields count."""
    found: dict[str, None] = {}
    for source in config.ingest:
        if source.topic == topic and source.hook is None:
            found |= dict.fromkeys(
                path for path in source.paths if not path.startswith("$") and not path.endswith(".*")
            )
    return list(found)


def check_schemas(topic: str, uses: Sequence[SchemaUse], config: LoopConfig) -> Iterator[Issue]:
    """Find newer versions of a topic's schemas that lack a field which the map reads, or declare another type."""
    paths = paths_read(topic, config)
    told = set()
    for use in uses:
        for version, fields in use.newer:
            if version.number in told:
                continue
            told.add(version.number)
            declared = [path for path in paths if path in use.fields]
            lost = [path for path in declared if path not in fields]
            changed = [
                f"{path} is {new} instead of {old}"
                for path in declared
                if path in fields
                and (old := use.fields[path].kind) is not None
                and (new := fields[path].kind) is not None
                and {old, new} not in ({"number", "whole number"}, {old})
            ]
            what = [*([f"lacks {', '.join(lost)}"] if lost else []), *changed]
            if what and fields:
                name = f"version {version.version} of {version.subject}"
                yield issue("schema_change", f"topic {topic}", f"{name}, the newest, {'; '.join(what)}")


def schema_lines(topic: str, uses: Sequence[SchemaUse], config: LoopConfig) -> Iterator[str]:
    """Yield the schemas of a topic's values, and what of them the map stands on."""
    for use in uses:
        names = " and ".join(f"version {one.version} of {one.subject}" for one in use.names)
        yield f"  schema {use.number}, {names}: {use.records:,} records"
    declared = [path for path in paths_read(topic, config) if any(path in use.fields for use in uses)]
    if declared:
        more = f", and {len(declared) - PATHS_SHOWN} more" if len(declared) > PATHS_SHOWN else ""
        yield f"  the map would break without, or with another type of: {', '.join(declared[:PATHS_SHOWN])}{more}"
