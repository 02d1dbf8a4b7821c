"""`truthloop plan` and `truthloop apply`: compare an edited config with the rules of a running loop, and apply it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from truthloop.terminal.console import note, print_json, reporting_errors, results

if TYPE_CHECKING:
    from streams.ledger.rules import RuleDifference
    from truthloop.config.settings import Settings
    from truthloop.evidence.plan_change import CountChange

__all__ = ["apply", "plan"]

_RESTART_NOTE = "Sources, mappings, features and slices take effect when the roles that read them are restarted."


def plan(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the differences between the config and the rules in force. Changes nothing.

    `truthloop apply` applies them. What is counted (slices, ages, thresholds) needs none: here it is said what the
    config counts otherwise than before. Exit code 1: a difference cannot be applied to a running loop.
    """
    with reporting_errors():
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

        settings = load_settings(config)
        found, recount = _differences(settings), _recount(settings)
        if as_json:
            print_json(
                {
                    "recount": None
                    if recount is None
                    else {
                        "records": recount.records,
                        "sealed_before": None if recount.sealed_before is None else str(recount.sealed_before),
                    },
                    "changes": [
                        {
                            "rule": difference.rule,
                            "in_force": difference.old,
                            "config": difference.new,
                            "can_be_applied": not difference.refusal,
                            "reason": difference.refusal or None,
                            "partitions": numbers,
                        }
                        for difference, numbers in found
                    ],
                }
            )
        else:
            _print(found)
            if recount is not None:
                results.print(_recount_text(recount))
        if any(difference.refusal for difference, _ in found):
            raise typer.Exit(1)


def apply(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
) -> None:
    """Apply the rules of the config to the running loop.

    The differences that `truthloop plan` shows take effect with the next step of each partition. Outcomes that were
    decided before do not change.
    """
    with reporting_errors():
        from schemas.errors import ConfigError  # noqa: PLC0415 - keeps --help fast
        from streams.kafka.topics import Topics, check_topics, partition_counts  # noqa: PLC0415 - the same
        from streams.ledger.rules import rules_text  # noqa: PLC0415 - the same
        from streams.messages.command import send_rules  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import kafka_clients  # noqa: PLC0415 - the same

        settings = load_settings(config)
        found = _differences(settings)
        if refused := [difference for difference, _ in found if difference.refusal]:
            raise ConfigError(
                "it cannot be applied to a running loop: " + "; ".join(f"{rule}: {rule.refusal}" for rule in refused),
                where=str(settings.path),
                hint="Revert these and apply the rest, or start a new loop with this config: truthloop rescale.",
            )
        _print(found)
        if not found:
            return
        clients, topics = kafka_clients(settings, "apply"), Topics.of(settings.config)
        check_topics(partition_counts(clients, topics.all), topics)
        send_rules(clients, topics, rules_text(settings.config))
        note(f"Sent to all {topics.partitions} partitions; `truthloop plan` shows nothing once all have applied it.")


def _differences(settings: "Settings") -> list[tuple["RuleDifference", list[int]]]:
    """Return each difference with its partitions; a partition without steps has none: it starts with the config."""
    from streams.kafka.topics import Topics, partition_counts  # noqa: PLC0415 - the same
    from streams.ledger.rules import differences, rules_text  # noqa: PLC0415 - the same
    from streams.ledger.topic import LedgerReader  # noqa: PLC0415 - keeps --help fast
    from truthloop.run.roles import kafka_clients  # noqa: PLC0415 - the same

    clients, topics = kafka_clients(settings, "plan"), Topics.of(settings.config)
    ledger, rules = LedgerReader(clients, topics.ledger), rules_text(settings.config)
    found: dict[str, tuple[RuleDifference, list[int]]] = {}
    for number in range(partition_counts(clients, [topics.ledger]).get(topics.ledger, 0)):
        last = ledger.last(number)
        for difference in differences(last.policy, rules) if last is not None else ():
            found.setdefault(str(difference), (difference, []))[1].append(number)
    return list(found.values())


def _recount(settings: "Settings") -> "CountChange | None":
    """Return what the config counts otherwise than the lake's cells; None where there is no lake yet."""
    from schemas.errors import LakeError  # noqa: PLC0415 - keeps --help fast
    from truthloop.evidence.plan_change import count_change  # noqa: PLC0415 - the same

    try:
        return count_change(settings)
    except LakeError:
        return None


def _recount_text(change: "CountChange") -> str:
    text = f"Counts change: the feedback role, once restarted, counts {change.records:,} records anew."
    if change.sealed_before is not None:
        text += (
            f" Days before {change.sealed_before} cannot be: their records have left the lake. What was counted of "
            "them stays, and is shown again only under a config that counts as the one before."
        )
    return text


def _print(found: list[tuple["RuleDifference", list[int]]]) -> None:
    if not found:
        results.print("The rules in force are those of the config.")
    for difference, numbers in found:
        rule = difference.rule
        old, new = _value(rule, difference.old), _value(rule, difference.new)
        results.print(f"  {rule.removesuffix('_ms')}: {old} -> {new}   (partitions {_numbers(numbers)})")
        if difference.refusal:
            results.print(f"    cannot be applied: {difference.refusal}")
        elif effect := _effect(difference):
            results.print(f"    {effect}")
    results.print(_RESTART_NOTE)


def _effect(difference: "RuleDifference") -> str:
    """Return the effect of a change on pending predictions; '' if there is none."""
    rule = difference.rule.rpartition(".")[2]
    if rule == "horizon_ms" and difference.new < difference.old:
        return "Pending predictions older than the new horizon time out at once."
    if rule == "horizon_ms":
        return "Pending predictions wait for the new deadline; those that timed out stay so until a label comes."
    if rule == "retain_ms" and difference.new < difference.old:
        return "Older predictions are evicted from the state at once; labels do not find them any more."
    if rule == "retain_ms":
        return "Evicted predictions do not come back; the longer retain holds for those in the state."
    if rule in {"implies", "implied"}:
        return "It holds for deadlines that pass from then on."
    return ""


def _value(rule: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    from schemas.base.duration import format_duration  # noqa: PLC0415 - keeps --help fast

    return format_duration(value) if rule.endswith("_ms") and isinstance(value, int) else repr(value)


def _numbers(numbers: list[int]) -> str:
    is_range = numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if is_range and len(numbers) > 1 else ", ".join(map(str, numbers))
