"""A duration as a field of a config. What parses and writes the text needs no pydantic, which is slow to load."""

from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from schemas.base.duration import DURATION_PATTERN, format_duration, parse_duration_ms

__all__ = ["DurationMs"]

DurationMs = Annotated[
    int,
    BeforeValidator(parse_duration_ms),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": DURATION_PATTERN,
            "examples": ["90s", "15m", "36h", "7d", "1h30m", "P7D"],
        }
    ),
]
"""Field type: text in the config and in JSON, whole milliseconds in memory."""
