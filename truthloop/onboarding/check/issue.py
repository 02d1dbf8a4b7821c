"""What a look at topics found: how grave it is, where, what, and what to do about it.

Must not find anything itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

__all__ = ["Issue", "Severity", "in_order", "is_good"]


class Severity(IntEnum):
    """How grave a finding is; the gravest first."""

    ERROR = 0
    """It will not work, or will silently give wrong numbers."""
    WARNING = 1
    """Something is lost, or cannot be told."""
    REMARK = 2
    """Worth knowing."""


@dataclass(frozen=True)
class Issue:
    """One finding.

    Attributes:
        severity: how grave.
        code: its kind, for programs.
        where: topic, kind or field.
        what: what was seen.
        do: what to do about it; empty where there is nothing to do.
    """

    severity: Severity
    code: str
    where: str
    what: str
    do: str = ""


def in_order(findings: Iterable[Issue]) -> list[Issue]:
    """Return findings by their severity; of the same, in the order in which they were found."""
    return sorted(findings, key=lambda one: one.severity)


def is_good(findings: Iterable[Issue]) -> bool:
    """Tell whether nothing is an error."""
    return all(one.severity is not Severity.ERROR for one in findings)
