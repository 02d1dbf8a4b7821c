"""Validation problems of models: a path into the model, and a message for people.

Pydantic reports one error per failed validator, but a validator over several fields can find several problems at
several paths. `ProblemsError` carries them all, with paths relative to the model that raised it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

__all__ = ["Path", "Problem", "ProblemsError", "did_you_mean", "dotted", "nearest"]

Path = tuple[str | int, ...]
"""Keys and list indexes from a model to a value inside it."""

_WORD_MAX = 80
"""Longer words are not misspelt names, and comparing them would be slow."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One validation problem; its message says what is wrong and what would be right, without repeating the path."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


class ProblemsError(ValueError):
    """One or more problems inside the validated model; raised by pydantic validators."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the name in `known` that is most similar to `word`, ignoring case, `-` and `_`; None if none is."""
    if len(word) > _WORD_MAX:
        return None
    folded: dict[str, str] = {}
    for name in sorted(known):
        folded.setdefault(_fold(name), name)
    found = get_close_matches(_fold(word), list(folded), n=1)
    return folded[found[0]] if found else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest name in `known`, or a list of all names."""
    names = sorted(known)
    if (best := nearest(word, names)) is not None:
        return f"; did you mean {best!r}?"
    return f"; there is {', '.join(names)}" if names else ""


def dotted(path: Path) -> str:
    """Format a path.

    >>> dotted(("ingest", 0, "map", "key"))
    'ingest[0].map.key'
    """
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")
