"""Config of a schema that is a file, for topics whose values name no schema of a registry."""

from typing import Literal

from pydantic import Field, model_validator

from schemas.base.model import StrictModel
from schemas.base.problem import Problem, ProblemsError

__all__ = ["SchemaFileConfig"]


class SchemaFileConfig(StrictModel):
    """The one schema of a topic's values."""

    file: str = Field(
        min_length=1,
        description="Avro schema (.avsc), or descriptors of Protobuf (protoc --include_imports "
        "--descriptor_set_out=FILE), relative to the config.",
    )
    message: str | None = Field(
        default=None, min_length=1, max_length=500, description="Full name of the Protobuf message, as acme.Score."
    )
    header: Literal["none", "confluent"] = Field(
        default="none",
        description="What stands in front of a record: nothing, or the id of a schema in Confluent's wire format, "
        "which is skipped.",
    )

    @model_validator(mode="after")
    def _is_of_one_format(self) -> "SchemaFileConfig":
        is_avro = self.file.endswith(".avsc")
        if is_avro and self.message is not None:
            raise ProblemsError([Problem(("message",), "is for descriptors of Protobuf; an .avsc has one record")])
        if not is_avro and self.message is None:
            raise ProblemsError([Problem(("message",), "is missing: of the descriptors, which message is a value?")])
        return self
