"""Config of how the loop's own topics and consumer groups are named."""

import re
from collections.abc import Sequence
from typing import Final

from pydantic import Field, model_validator

from schemas.base.model import StrictModel
from schemas.base.problem import Problem, ProblemsError

__all__ = ["TopicNames"]

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_LEGAL: Final = re.compile(r"[A-Za-z0-9._-]*")
_LENGTH_MAX: Final = 249
_LOOP_LENGTH_MAX: Final = 63
_ADDED_LENGTH_MAX: Final = 40
"""What is appended to a group's name, for its workers and for Faust's topic."""


class TopicNames(StrictModel):
    """Names of the loop's own topics and groups; fixed for the loop's life."""

    name: str = Field(default="{loop}.{topic}", description="Of a topic, with {loop} and {topic}.")
    group: str = Field(
        default="{loop}-{role}",
        description="Of a consumer group, with {loop} and {role}; transactional ids begin with it, too.",
    )

    @model_validator(mode="after")
    def _are_templates(self) -> "TopicNames":
        problems = [
            Problem((field,), message)
            for field, wanted in (("name", ("loop", "topic")), ("group", ("loop", "role")))
            if (message := _fault(getattr(self, field), wanted))
        ]
        if problems:
            raise ProblemsError(problems)
        return self

    def topic(self, loop: str, topic: str) -> str:
        """Return the full name of one of the loop's topics."""
        return self.name.replace("{loop}", loop).replace("{topic}", topic)

    def group_of(self, loop: str, role: str) -> str:
        """Return the name of a role's consumer group."""
        return self.group.replace("{loop}", loop).replace("{role}", role)


def _fault(template: str, wanted: Sequence[str]) -> str:
    """Return why a template cannot name topics or groups; empty if it can."""
    named = [f"{{{one}}}" for one in wanted]
    found = _PLACEHOLDER.findall(template)
    if sorted(found) != sorted(wanted):
        return f"must have {' and '.join(named)}, each once, and no other name in braces"
    rest = _PLACEHOLDER.sub("", template)
    if not _LEGAL.fullmatch(rest):
        return "may have letters, digits, '.', '_' and '-' besides them"
    if len(rest) + _LOOP_LENGTH_MAX + _ADDED_LENGTH_MAX > _LENGTH_MAX:
        return f"is too long: Kafka's names have at most {_LENGTH_MAX} characters"
    return ""
