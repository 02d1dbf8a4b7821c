"""`truthloop replay`: joins records of files into the lake, without Kafka; also as a nightly job."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.terminal.console import note, print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from streams.replay.replay import ReplaySummary

__all__ = ["replay"]


def replay(
    predictions: Annotated[
        list[Path] | None,
        typer.Option("--predictions", "-p", metavar="FILE", help="A file of predictions; may be repeated."),
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option("--labels", "-l", metavar="FILE", help="A file of labels; may be repeated.")
    ] = None,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    close: Annotated[
        str | None,
        typer.Option(help="All inputs are complete up to this time (ISO 8601 with offset), so earlier deadlines pass."),
    ] = None,
    now: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Use this as the present (ISO 8601 with offset); it is recorded."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Join predictions and labels from files into the lake.

    Reads Parquet, CSV and JSON lines (.parquet .csv .jsonl, text also as .gz), in the canonical form or with the
    config's mapping. A file that was read before is skipped; a new one continues from the lake's state, so that this
    works as the nightly job of a team without Kafka.
    """
    with reporting_errors():
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.evidence.cells import read_evidence  # noqa: PLC0415 - keeps --help fast
        from truthloop.evidence.class_warnings import class_warnings  # noqa: PLC0415 - the same
        from truthloop.run.replay_files import accounting_lines, replay_files  # noqa: PLC0415 - the same
        from truthloop.terminal.instants import parse_instant_ms  # noqa: PLC0415 - the same

        settings = load_settings(config)
        summary = replay_files(
            settings,
            list(predictions or ()),
            list(labels or ()),
            now_ms=now_ms() if now is None else parse_instant_ms(now, "--now"),
            close_at_ms=None if close is None else parse_instant_ms(close, "--close"),
        )
        warnings = [*_key_warnings(summary), *class_warnings(read_evidence(settings))]
        violations = summary.counters.violations()
        if as_json:
            print_json(_document(summary, violations, warnings))
        else:
            _print_files(summary)
            for line in accounting_lines(summary.counters):
                results.print(line)
        for warning in warnings:
            warn(warning)
        for violation in violations:
            warn(f"an accounting identity does not hold: {violation}")
        if violations:
            raise typer.Exit(1)


def _key_warnings(summary: "ReplaySummary") -> list[str]:
    """Return a sentence for each file whose keys are spelled as floats, and will not meet those of whole numbers."""
    from streams.mapping.values import LIKE_A_FLOAT  # noqa: PLC0415 - keeps --help fast

    return [
        f"{file.name}: {count:,} keys are text like 101.0; if others are like 101, write key: {{path: ..., type: int}}"
        for file in summary.files
        if (count := file.flags.get(f"key:{LIKE_A_FLOAT}"))
    ]


def _document(summary: "ReplaySummary", violations: list[str], warnings: list[str]) -> dict[str, object]:
    import msgspec  # noqa: PLC0415 - keeps --help fast

    return {
        "files": msgspec.to_builtins(summary.files),
        "skipped": summary.skipped,
        "steps": summary.steps,
        "finished_an_interrupted_run": summary.redone,
        "counters": msgspec.to_builtins(summary.counters),
        "warnings": warnings,
        "conservation": {"holds": not violations, "violations": violations},
    }


def _print_files(summary: "ReplaySummary") -> None:
    if summary.redone:
        note("Completed an interrupted run first.")
    for name in summary.skipped:
        note(f"{name}: read before, skipped")
    for file in summary.files:
        filtered = f", {file.filtered:,} filtered" if file.filtered else ""
        rejected = f", [yellow]{file.rejected:,} rejected[/]" if file.rejected else ""
        results.print(f"{file.name}: {file.read:,} records read{filtered}{rejected}")
        for title, counts in (("rejected", file.reasons), ("kept and flagged", file.flags)):
            for name, count in sorted(counts.items(), key=lambda item: -item[1]):
                results.print(f"  {title}: {name} {count:,}")
