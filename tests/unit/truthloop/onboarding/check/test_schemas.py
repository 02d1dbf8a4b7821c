"""What a newer schema would break of a map."""

from ingest_case import loop_with

from streams.readers.declared_field import DeclaredField, FieldKind
from streams.registry.catalog import SchemaUse, SchemaVersion
from truthloop.onboarding.check.issue import Severity
from truthloop.onboarding.check.schemas import check_schemas, paths_read, schema_lines

MAP = {"key": ["id", "$key"], "time": {"path": "at", "otherwise": "old.at"}, "outputs.fraud": "score"}
SOURCE = {"topic": "t", "as": "predictions", "where": {"kind": "x"}, "map": {**MAP, "features": "f.*"}}
OTHER = {"topic": "u", "as": "predictions", "map": {"key": "no", "time": "at", "outputs.fraud": "score"}}
CONFIG = loop_with(SOURCE, OTHER)


def fields(**kinds: FieldKind | None) -> dict[str, DeclaredField]:
    """Return declared fields."""
    return {name: DeclaredField(kind) for name, kind in kinds.items()}


USED = fields(id="text", at="text", score="number", kind="text", other="text")


def use(*newer: dict[str, DeclaredField]) -> SchemaUse:
    """Return a schema with newer versions."""
    versions = [(SchemaVersion("t-value", 2 + at, 7 + at), one) for at, one in enumerate(newer)]
    return SchemaUse(5, 300, [SchemaVersion("t-value", 1, 5)], USED, versions)


def test_what_the_map_stands_on_is_said() -> None:
    """Only what the schema declares, and neither metadata nor groups."""
    assert paths_read("t", CONFIG) == ["kind", "id", "at", "old.at", "score"]
    assert list(schema_lines("t", [use()], CONFIG)) == [
        "  schema 5, version 1 of t-value: 300 records",
        "  the map would break without, or with another type of: kind, id, at, score",
    ]
    assert list(schema_lines("t", [], CONFIG)) == []


def test_a_newer_version_that_breaks_the_map_is_a_warning() -> None:
    """It names the version, what is lost and what is another type now; what the map does not read may change."""
    newer = fields(id="whole number", at="text", kind=None)
    (found,) = check_schemas("t", [use(newer), use(newer)], CONFIG)
    assert found.severity == Severity.WARNING
    assert found.text == "version 2 of t-value, the newest, lacks score; id is whole number instead of text"


def test_versions_that_break_nothing() -> None:
    """More fields, wider numbers, and a schema that cannot be read."""
    wider = USED | fields(score="whole number", more="text")
    assert list(check_schemas("t", [use(USED, wider, {})], CONFIG)) == []
