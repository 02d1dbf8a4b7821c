"""`truthloop check`: every error of a config with its line; of a valid config, what it means.

With --live it also samples the topics. Read-only: it opens no lake, joins no consumer group and writes nothing.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigError
from truthloop.terminal.console import print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from truthloop.config.settings import ConfigProblem, Settings, ValueLocations

__all__ = ["check"]


def check(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    live: Annotated[
        bool, typer.Option("--live", help="Sample the topics, too, and report what would become of the records.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="With --live: records to sample of each topic (10,000).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Check the config, or explain what it means. Every error is reported with its line.

    Exit code 1: --live found an error. 2: the config is wrong. 4: the cluster does not answer. --live joins no consumer
    group, commits nothing, and takes no longer for a large topic than for a small one.
    """
    from truthloop.config.advice import advise  # noqa: PLC0415 - keeps --help fast
    from truthloop.config.settings import InvalidConfigError  # noqa: PLC0415 - keeps --help fast
    from truthloop.config.summary import summarise  # noqa: PLC0415 - keeps --help fast

    with reporting_errors():
        if sample is not None and not live:
            raise ConfigError("--sample needs --live")
        try:
            settings, locations = _load(config)
        except InvalidConfigError as error:
            if as_json:
                print_json({"ok": False, "errors": [_json(found) for found in error.problems], "warnings": []})
                raise typer.Exit(error.exit_code) from None
            raise
        warnings = [locations.problem(problem.path, str(problem)) for problem in advise(settings.config)]
        document: dict[str, object] = {"ok": True, "errors": [], "warnings": [_json(warning) for warning in warnings]}
        if live:
            from truthloop.cli.check_live import inspect_topics, print_inspection  # noqa: PLC0415 - keeps --help fast

            inspected = inspect_topics(settings, sample)
            is_good = print_inspection(inspected, settings.config, document if as_json else None)
        else:
            is_good = True
            if as_json:
                print_json(document)
            else:
                results.print_lines([f"{config} is valid.", "", *summarise(settings.config, settings.lake)])
        for warning in [] if as_json else warnings:
            warn(f"{warning.where}: {warning.message}")
        if not is_good:
            raise typer.Exit(1)


def _load(config: Path) -> "tuple[Settings, ValueLocations]":
    """Return a config that a role could start with, and where each value was set."""
    from truthloop.config.settings import InvalidConfigError, load_located_settings  # noqa: PLC0415 - keeps --help fast
    from truthloop.config.startup import startup_problems  # noqa: PLC0415 - keeps --help fast

    settings, locations = load_located_settings(config)
    if found := startup_problems(settings.config):
        raise InvalidConfigError([locations.problem(problem.path, str(problem)) for problem in found])
    return settings, locations


def _json(problem: "ConfigProblem") -> dict[str, object]:
    return {"file": problem.file, "line": problem.line, "message": problem.message}
