"""Publishes JSON Schemas (draft 2020-12) of the models: the config's for editors, those of messages for producers.

`python -m schemas.publish` rewrites the files in `schemas/json`; a test checks that they are current. The models check
more than a schema can express, such as sizes in bytes and names that must agree.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

from schemas.config.loop import LoopConfig
from schemas.events.backfill_diff import BackfillDiff
from schemas.events.evidence import Decision, Evaluation
from schemas.events.messages import Label, LedgerEntry, Outcome, Prediction, Rejection
from schemas.events.retrain_request import RetrainCallback, RetrainRequest

__all__ = ["FOLDER", "json_schemas", "main", "render", "write_json_schemas"]

FOLDER = Path(__file__).parent / "json"

_DIALECT = GenerateJsonSchema.schema_dialect
_MODELS: dict[str, tuple[str, type[BaseModel]]] = {
    "config": ("truthloop.yaml", LoopConfig),
    "prediction": ("Prediction", Prediction),
    "label": ("Label", Label),
    "outcome": ("Outcome", Outcome),
    "rejection": ("Rejection", Rejection),
    "ledger_entry": ("Ledger entry", LedgerEntry),
    "evaluation": ("Evaluation", Evaluation),
    "decision": ("Decision", Decision),
    "backfill_diff": ("Backfill diff", BackfillDiff),
    "retrain_request": ("Retrain request", RetrainRequest),
    "retrain_callback": ("Retrain callback", RetrainCallback),
}


class _Generator(GenerateJsonSchema):
    """Forbids other keys in mappings whose keys have a pattern, which pydantic leaves open."""

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        body = super().dict_schema(schema)
        return {**body, "additionalProperties": False} if "patternProperties" in body else body


def json_schemas() -> dict[str, dict[str, Any]]:
    """Return every published schema by its file name, which is also its `$id`."""
    schemas = {}
    for name, (title, model) in _MODELS.items():
        file = f"{name}.schema.json"
        body = model.model_json_schema(mode="validation", schema_generator=_Generator)
        schemas[file] = {"$schema": _DIALECT, "$id": file, **body, "title": title}
    return schemas


def write_json_schemas(folder: Path) -> list[Path]:
    """Write every schema into `folder`, remove those that are no longer published, and return the paths written."""
    folder.mkdir(parents=True, exist_ok=True)
    schemas = json_schemas()
    for old in folder.glob("*.schema.json"):
        if old.name not in schemas:
            old.unlink()
    for file, schema in schemas.items():
        (folder / file).write_text(render(schema), encoding="utf-8")
    return [folder / file for file in schemas]


def render(schema: dict[str, Any]) -> str:
    """Return the text of a schema file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Rewrite the files in `schemas/json`, and print their paths."""
    for path in write_json_schemas(FOLDER):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
