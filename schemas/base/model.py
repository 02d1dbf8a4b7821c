"""Base classes of all models: strict types, finite numbers, frozen instances. They differ in unknown fields."""

from pydantic import BaseModel, ConfigDict

__all__ = ["LenientModel", "StrictModel"]


class StrictModel(BaseModel):
    """Refuses unknown fields, so that a misspelt one is noticed at once."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True, allow_inf_nan=False)


class LenientModel(StrictModel):
    """Ignores unknown fields, so that an older reader understands a newer sender while versions are rolled."""

    model_config = ConfigDict(extra="ignore")
