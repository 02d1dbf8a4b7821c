"""`truthloop status`: the progress of every role, read from Kafka and the lake."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.terminal.console import print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from joins.accounting import Counters
    from streams.status import LoopStatus
    from truthloop.config.settings import Settings

__all__ = ["status"]


def status(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the lag of every role and the accounting of all records; of a loop without Kafka, what its lake holds.

    No role needs to run. Exit code 1: an accounting identity does not hold. 4: the cluster does not answer.
    """
    with reporting_errors():
        from joins.accounting import Counters  # noqa: PLC0415 - keeps --help fast
        from streams.status import read_lake_status, read_loop_status  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import kafka_clients  # noqa: PLC0415 - the same

        settings = load_settings(config)
        if settings.config.kafka is None:
            found = read_lake_status(settings.lake)
        else:
            found = read_loop_status(kafka_clients(settings, "status"), settings.config, settings.lake)
        parts = [entry.checkpoint.counters for entry in found.entries.values()]
        counters = Counters.sum_of(settings.config.labels, parts)
        violations = [text for one in parts for text in one.violations()]
        if as_json:
            print_json(_document(settings, found, counters, violations))
        else:
            _print(settings, found, counters)
            if _is_edited(settings, found):
                results.print("  rules   the config differs from the rules in force: truthloop plan")
        for violation in violations:
            warn(f"an accounting identity does not hold: {violation}")
        if violations:
            raise typer.Exit(1)


def _document(
    settings: "Settings", found: "LoopStatus", counters: "Counters", violations: list[str]
) -> dict[str, object]:
    import msgspec  # noqa: PLC0415 - keeps --help fast

    return {
        "loop": settings.config.loop,
        "ingest": {"lag": found.ingest},
        "join": {
            "lag": found.join,
            "steps": {str(number): entry.sequence + 1 for number, entry in found.entries.items()},
        },
        "lake": {"steps": {str(number): step + 1 for number, step in found.lake.items()}, "behind": found.lake_behind},
        "rules_in_force": not _is_edited(settings, found),
        "counters": msgspec.to_builtins(counters),
        "conservation": {"holds": not violations, "violations": violations},
    }


def _is_edited(settings: "Settings", found: "LoopStatus") -> bool:
    from streams.ledger.rules import differences, rules_text  # noqa: PLC0415 - keeps --help fast

    rules = rules_text(settings.config)
    return any(differences(entry.policy, rules) for entry in found.entries.values())


def _print(settings: "Settings", found: "LoopStatus", counters: "Counters") -> None:
    from truthloop.run.replay_files import accounting_lines  # noqa: PLC0415 - keeps --help fast

    results.print(f"[bold]{settings.config.loop}[/]")
    for name, lag in {"ingest": found.ingest, "join": found.join}.items():
        for topic, count in lag.items():
            results.print(f"  {name:<7} {topic}: {_lag(count)}")
    behind = found.lake_behind
    results.print(f"  lake    {settings.lake}: " + (f"{behind:,} steps behind the join" if behind else "up to date"))
    if not found.entries:
        begin = "truthloop run join" if settings.config.kafka is not None else "truthloop replay"
        results.print(f"  The join has not committed anything yet: {begin}")
        return
    for line in accounting_lines(counters):
        results.print(f"  {line}")
    for name, count in {"predictions": counters.unreadable_predictions, "labels": counters.unreadable_labels}.items():
        if count:
            results.print(
                f"  {count:,} messages among the {name} could not be read; see `truthloop sql 'FROM rejects'`"
            )


def _lag(count: int) -> str:
    return f"{count:,} offsets behind" if count else "up to date"
