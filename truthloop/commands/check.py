"""`truthloop check`: what is wrong with a config and where, or what it means, with its ages drawn to scale.

Must not open the lake or read data.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.console import print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from truthloop.settings import ConfigProblem

__all__ = ["check"]


def check(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what is wrong with the config and where, or what it means."""
    from truthloop.config_advice import advise  # noqa: PLC0415 - keeps --help fast
    from truthloop.config_summary import summarise  # noqa: PLC0415 - keeps --help fast
    from truthloop.settings import InvalidConfigError, load_placed_settings  # noqa: PLC0415 - keeps --help fast

    with reporting_errors():
        try:
            settings, places = load_placed_settings(config)
        except InvalidConfigError as error:
            if as_json:
                print_json({"ok": False, "errors": [_json(found) for found in error.problems], "warnings": []})
                raise typer.Exit(error.exit_code) from None
            raise
        remarks = [places.problem(problem.path, str(problem)) for problem in advise(settings.config)]
        if as_json:
            print_json({"ok": True, "errors": [], "warnings": [_json(remark) for remark in remarks]})
            return
        _say([f"{config} is valid.", "", *summarise(settings.config, settings.lake, results.console.width)])
        for remark in remarks:
            warn(f"{remark.where}: {remark.message}")


def _say(lines: list[str]) -> None:
    """Print lines as they are: the config's own words are no markup."""
    from truthloop.timeline import in_ascii  # noqa: PLC0415 - keeps --help fast

    for line in in_ascii(lines) if results.console.options.ascii_only else lines:
        results.console.print(line, markup=False, emoji=False, no_wrap=True, overflow="ignore", crop=False)


def _json(problem: "ConfigProblem") -> dict[str, object]:
    return {"file": problem.file, "line": problem.line, "message": problem.message}
