"""How a model says what is wrong with it: where inside it, in words that a person understands.

Pydantic reports one error for each failed rule; a rule over several fields can find several faults in
several places. `ProblemsError` carries them all, with paths relative to the model that raised it. This
module must not know files or lines.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

__all__ = ["Path", "Problem", "ProblemsError", "did_you_mean", "dotted", "nearest"]

Path = tuple[str | int, ...]
"""Keys and list positions that lead from a model to a value inside it."""

_WORD_MAX = 80
"""Longer words are no misspelt names, and comparing them would take time."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault.

    Attributes:
        path: keys and list positions that lead to it.
        message: what is wrong and what would be right; it does not repeat the path.
    """

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


class ProblemsError(ValueError):
    """Raised inside a pydantic validator: one or more faults at places below the validated model."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `word` most probably stands for, or None.

    Case and the difference between `-` and `_` do not count.
    """
    if len(word) > _WORD_MAX:
        return None
    folded: dict[str, str] = {}
    for name in sorted(known):
        folded.setdefault(_fold(name), name)
    found = get_close_matches(_fold(word), list(folded), n=1)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest of `known`, else a list of all of them."""
    names = sorted(known)
    if (best := nearest(word, names)) is not None:
        return f"; did you mean {best!r}?"
    return f"; there is {', '.join(names)}" if names else ""


def dotted(path: Path) -> str:
    """Write a path as people do.

    >>> dotted(("ingest", 0, "map", "key"))
    'ingest[0].map.key'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
