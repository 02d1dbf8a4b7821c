"""`truthloop retrain`: lists, explains, evaluates and resolves retrains."""

import os
from datetime import tzinfo
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base.figures import moment, plain_text, zone_of
from truthloop.cli.commands.retrain_send import send
from truthloop.cli.commands.retrain_show import show
from truthloop.cli.selection import local_user
from truthloop.terminal.console import note, notes, print_json, reporting_errors, results

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retrain.log_entries import EntryOrigin
    from schemas.events.evidence import Decision
    from truthloop.config.settings import Settings

__all__ = ["retrain"]

retrain = typer.Typer(
    name="retrain",
    help="List, explain, evaluate, send and resolve retrains.",
    no_args_is_help=True,
)
retrain.command()(send)
retrain.command()(show)

Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")]
Kind = Annotated[str | None, typer.Option(help="One label kind; default: all.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
CONFIG = Path("truthloop.yaml")


@retrain.command("list")
def list_(kind: Kind = None, config: Config = CONFIG, as_json: Json = False) -> None:
    """List every retrain with its state, and the state of the gate."""
    with reporting_errors():
        from rich.text import Text  # noqa: PLC0415 - keeps --help fast

        from retrain.gate import gate_of, state_entry  # noqa: PLC0415 - the same
        from retrain.retrains import retrains_of  # noqa: PLC0415 - the same
        from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - the same

        settings = _settings(config)
        logs = _logs(settings, kind)
        zone = zone_of(settings.config.timezone)
        if as_json:
            print_json(
                {
                    "gates": {name: _gate_document(entries) for name, entries in logs.items()},
                    "retrains": [item.document() for entries in logs.values() for item in retrains_of(entries)],
                }
            )
            return
        table = plain_table("decided:", "kind:", "id:", "state:", "version:", "rows", "holdout", "why:")
        for name, entries in logs.items():
            for item in retrains_of(entries):
                table.add_row(
                    moment(item.decided_ms, zone),
                    name,
                    item.id,
                    item.state,
                    Text(plain_text(item.version or "-")),
                    "-" if item.rows is None else f"{item.rows:,}",
                    "-" if item.holdout_rows is None else f"{item.holdout_rows:,}",
                    Text(plain_text(item.reason)),
                )
        if table.row_count:
            print_table(table)
        for name, entries in logs.items():
            gate = gate_of(entries)
            last = entry.reason if (entry := state_entry(entries)) is not None else "no day was evaluated yet"
            notes.print(f"{name}: the gate is {gate.state.value}: {plain_text(last)}", markup=False)


@retrain.command()
def explain(
    decision: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A retrain; default: the newest entries of the log.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="Without an ID: number of entries to show.")] = 14,
    kind: Kind = None,
    config: Config = CONFIG,
    as_json: Json = False,
) -> None:
    """Explain a retrain, or day by day why none was asked for."""
    with reporting_errors():
        from schemas.errors import ConfigError  # noqa: PLC0415 - keeps --help fast

        settings = _settings(config)
        logs = _logs(settings, kind)
        zone = zone_of(settings.config.timezone)
        entries = [entry for log in logs.values() for entry in (log[-last:] if decision is None else log)]
        if decision is not None:
            entries = [entry for entry in entries if entry.decision == decision]
            if not entries:
                raise ConfigError("no such retrain", where=decision, hint="`truthloop retrain list` lists them.")
        if as_json:
            print_json({"entries": [entry.model_dump(mode="json", exclude={"memory"}) for entry in entries]})
            return
        before = ""
        for entry in entries:
            _print(entry, zone, reason_before=before if decision is not None else "")
            before = entry.reason


@retrain.command()
def resolve(
    decision: Annotated[str, typer.Argument(metavar="ID", help="The open retrain.")],
    reason: Annotated[str, typer.Option(help="What happened; it is kept in the log.")],
    config: Config = CONFIG,
) -> None:
    """End a retrain that nobody answers. The gate cools down, and asks again if the evidence still calls for it.

    The log records this machine's user name: an attestation, not a proof.
    """
    with reporting_errors():
        from lake import Lake  # noqa: PLC0415 - keeps --help fast
        from retrain.decision_log import DecisionLog  # noqa: PLC0415 - the same
        from retrain.log_entries import EntryOrigin  # noqa: PLC0415 - the same
        from schemas.errors import ConfigError, LakeConflict  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same

        if not reason.strip():
            raise typer.BadParameter("--reason must not be empty")
        settings = _settings(config)
        lake = Lake.open(settings.lake)
        for origin in EntryOrigin.all_of(settings.config):
            build = partial(_resolution, origin, decision, reason.strip())
            new = DecisionLog(lake, origin.kind).update(build, now_ms)
            if new is None:
                raise LakeConflict(
                    "the log has changed meanwhile", where=decision, hint="Check the log, then try again."
                )
            if new:
                note(f"{decision} is resolved; the gate cools down.")
                return
        raise ConfigError("is not open", where=decision, hint="`truthloop retrain list` shows the open ones.")


@retrain.command()
def evaluate(config: Config = CONFIG, as_json: Json = False) -> None:
    """Evaluate the days that have ended, and send due requests.

    For loops without Kafka, for example every night after `truthloop replay`. The feedback role does this by itself;
    running both decides nothing twice.
    """
    with reporting_errors():
        import asyncio  # noqa: PLC0415 - keeps --help fast

        from lake import Lake  # noqa: PLC0415 - the same
        from retrain.log_entries import EntryOrigin  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.feedback.deliveries import Deliveries  # noqa: PLC0415 - the same
        from truthloop.feedback.endpoints import receiver_of  # noqa: PLC0415 - the same
        from truthloop.feedback.reconcile import Reconciler  # noqa: PLC0415 - the same

        settings = _settings(config)
        receiver = receiver_of(settings, os.environ)
        reconciler = Reconciler(settings, now_ms)
        evaluations, decisions = 0, 0
        while (result := reconciler.run()).decisions:
            evaluations += len(result.evaluations)
            decisions += len(result.decisions)
        sent = []
        if receiver is not None:
            origins = EntryOrigin.all_of(settings.config)
            sent = asyncio.run(Deliveries(Lake.open(settings.lake), origins, receiver, now_ms).send_due())
        if as_json:
            print_json({"evaluations": evaluations, "entries": decisions, "delivered": len(sent)})
            return
        note(f"{evaluations:,} evaluations, {decisions:,} entries of the log")
        for entry in sent:
            results.print(f"{entry.decision}: {entry.reason}", markup=False)


def _resolution(origin: "EntryOrigin", decision: str, reason: str, entries: "Sequence[Decision]") -> "list[Decision]":
    """Return the entry that resolves a retrain; none if the retrain is not open in this log."""
    from retrain.gate import gate_of  # noqa: PLC0415 - keeps --help fast
    from retrain.log_entries import resolved  # noqa: PLC0415 - the same

    gate = gate_of(entries)
    return [resolved(origin, gate, reason, {"who": local_user()})] if gate.decision == decision else []


def _settings(config: Path) -> "Settings":
    from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

    return load_settings(config)


def _logs(settings: "Settings", kind: str | None) -> "dict[str, list[Decision]]":
    """Return the log of each kind, or of one kind."""
    import polars as pl  # noqa: PLC0415 - keeps --help fast

    from lake import Lake  # noqa: PLC0415 - the same
    from retrain.decision_log import DecisionLog  # noqa: PLC0415 - the same
    from truthloop.cli.selection import check_choice  # noqa: PLC0415 - the same

    if kind is not None:
        check_choice("--kind", kind, pl.Series(list(settings.config.labels)))
    lake = Lake.open(settings.lake)
    return {name: DecisionLog(lake, name).entries() for name in settings.config.labels if kind in (None, name)}


def _gate_document(entries: "list[Decision]") -> dict[str, object]:
    from retrain.gate import gate_of, state_entry  # noqa: PLC0415 - keeps --help fast

    gate, entry = gate_of(entries), state_entry(entries)
    return {
        "state": gate.state.value,
        "since_ms": gate.since_ms,
        "decision": gate.decision,
        "overdue": gate.is_overdue,
        "reason": None if entry is None else entry.reason,
    }


def _print(entry: "Decision", zone: tzinfo, *, reason_before: str) -> None:
    """Print one entry, unless it repeats the reason of the entry before."""
    if entry.reason == reason_before:
        return
    head = f"{moment(entry.at, zone)}  {entry.event.value}: {entry.state.value}"
    results.print(f"{head}  {plain_text(entry.reason)}", markup=False)
    if entry.decision is None and entry.conditions and entry.findings:
        for condition in entry.conditions:
            if not condition.is_met:
                text = f"{condition.name}: {plain_text(condition.value)} (needed: {plain_text(condition.needed)})"
                results.print(f"    {text}", markup=False)
    for finding in entry.findings if entry.decision is not None else ():
        results.print(f"    found: {plain_text(finding.text)}", markup=False)
    for name, value in entry.detail.items():
        if value is not None and entry.decision is not None:
            results.print(f"    {plain_text(name)}: {plain_text(str(value))}", markup=False)
