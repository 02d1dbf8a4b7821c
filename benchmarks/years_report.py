"""The table of a simulation: what each operation took by day, and how much it has grown."""

import platform
from typing import Any

import msgspec
from years_traffic import World

__all__ = ["RATIO_MAX", "Table"]

RATIO_MAX = 1.2
"""Greatest ratio of the last day to the second one, for what does not ask for history."""

_OPERATIONS = {
    "append": "append of one table, median",
    "greatest append": "append of one table, with a checkpoint",
    "fold": "fold of new rows into cells",
    "look": "look at an unchanged lake",
    "evaluation": "evaluation of a day that has ended",
    "maintenance": "maintenance at the end of a day",
    "night": "night: a replay of one day",
    "night_without_files": "night without a new file",
    "page": "page",
    "explain": "explain of one key",
    "query": "SQL about one day",
}
_SIZES = {
    "files": "active files",
    "log files": "log files",
    "log MB": "log, MB",
    "dead MB": "dead files, MB",
    "cells": "cells",
    "cell rows": "rows of cells in the table",
    "state MB": "state of the join, MB",
}
_OF_HISTORY = {"files", "cells", "cell rows"}
"""What grows with the days that are kept, by right."""


class Table:
    """Figures by mode, operation and day."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._figures: dict[tuple[str, str, str], dict[int, float]] = {}

    def add(self, mode: str, step: str, day: int, figures: dict[str, float]) -> None:
        """Add what a step has measured."""
        if step == "sizes":
            for name, value in figures.items():
                self._add(mode, name, "size", day, value)
            return
        if "greatest_cpu_s" in figures:
            self._add(mode, f"greatest {step}", "cpu_s", day, figures["greatest_cpu_s"])
        for unit in ("cpu_s", "rss_mb"):
            if unit in figures:
                self._add(mode, step, unit, day, figures[unit])

    def _add(self, mode: str, name: str, unit: str, day: int, value: float) -> None:
        self._figures.setdefault((mode, name, unit), {})[day] = value

    @property
    def growing(self) -> list[str]:
        """What has grown by more than it may."""
        return [f"{mode} {name} {unit}" for mode, name, unit in self._figures if self._is_growing((mode, name, unit))]

    def text(self) -> str:
        """Return the table as Markdown."""
        world, days = self._world, self._world.measured_days
        busy = " and ".join(f"{day:,}" for day in world.busy_days)
        lines = [
            f"Rate {world.rate:,} a day, slices {world.slices}, retain {world.retain_days} d, seed {world.seed}.",
            f"Full cadence on days {busy}: {world.busy_rate:,} predictions, live in {world.busy_commits:,} rounds.",
            f"Rounds on other days: {world.commits}; on measured ones {world.measured_commits}. Looks: {world.looks}.",
            "",
            "| what | mode | " + " | ".join(f"day {day:,}" for day in days) + f" | last / day {days[1]} |  |",
            "|---|---|" + "---|" * (len(days) + 2),
        ]
        for unit, names, title in (
            ("cpu_s", _OPERATIONS, "{}, CPU s"),
            ("rss_mb", _OPERATIONS, "{}, MB"),
            ("size", _SIZES, "{}"),
        ):
            for name, words in names.items():
                for mode in ("live", "nightly"):
                    key = (mode, name, unit)
                    if any(self._figures.get(key, {}).values()):
                        lines.append(self._line(key, title.format(words)))
        return "\n".join(lines)

    def document(self) -> dict[str, Any]:
        """Return everything as one JSON document."""
        rows = [
            {
                "mode": mode,
                "what": name,
                "unit": unit,
                "by_day": {str(day): round(value, 6) for day, value in by_day.items()},
                "ratio": self._ratio((mode, name, unit)),
                "grows": self._is_growing((mode, name, unit)),
            }
            for (mode, name, unit), by_day in self._figures.items()
        ]
        machine = f"{platform.machine()}, Python {platform.python_version()}"
        return {"world": msgspec.to_builtins(self._world), "machine": machine, "rows": rows}

    def _line(self, key: tuple[str, str, str], title: str) -> str:
        found = [self._figures[key].get(day) for day in self._world.measured_days]
        ratio = self._ratio(key)
        cells = [
            title,
            key[0],
            *("" if value is None else _written(value) for value in found),
            "" if ratio is None else f"{ratio:.2f}",
            "grows" if self._is_growing(key) else "",
        ]
        return f"| {' | '.join(cells)} |"

    def _ratio(self, key: tuple[str, str, str]) -> float | None:
        """Return the last day over the second; None without both, or where there was nothing on the second."""
        by_day, days = self._figures[key], self._world.measured_days
        first, last = by_day.get(days[1]), by_day.get(days[-1])
        return None if not first or last is None else last / first

    def _is_growing(self, key: tuple[str, str, str]) -> bool:
        ratio = self._ratio(key)
        return key[1] not in _OF_HISTORY and ratio is not None and ratio > RATIO_MAX


def _written(value: float) -> str:
    """Return a value with three significant digits, and no digits after the point from 100 on."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
