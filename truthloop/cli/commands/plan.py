"""`truthloop plan` and `truthloop apply`: what an edited config would change on the running loop, and making it so."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from truthloop.terminal.console import note, print_json, reporting_errors, results

if TYPE_CHECKING:
    from streams.ledger.rules import Difference
    from truthloop.config.settings import Settings

__all__ = ["apply", "plan"]

_RESTARTED = "Sources, mappings, features and slices hold from the next start of the roles that read them."


def plan(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show which rules of the join FILE says otherwise than they are in force, and whether they can be applied.

    Changes nothing. Exit code 1: something in it cannot be applied to a running loop.
    """
    with reporting_errors():
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

        found = _found(load_settings(config))
        if as_json:
            print_json(
                {
                    "changes": [
                        {
                            "rule": one.rule,
                            "in_force": one.old,
                            "config": one.new,
                            "can_be_applied": not one.refusal,
                            "reason": one.refusal or None,
                            "partitions": numbers,
                        }
                        for one, numbers in found
                    ]
                }
            )
        else:
            _tell(found)
        if any(one.refusal for one, _ in found):
            raise typer.Exit(1)


def apply(
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
) -> None:
    """Let the running loop go on under the rules that FILE says: what `truthloop plan` shows.

    They hold from the step on in which each partition reads them. What was decided before stays as it is.
    """
    with reporting_errors():
        from schemas.errors import ConfigError  # noqa: PLC0415 - keeps --help fast
        from streams.kafka.topics import Topics, check_topics, partition_counts  # noqa: PLC0415 - the same
        from streams.ledger.rules import rules_text  # noqa: PLC0415 - the same
        from streams.messages.command import send_rules  # noqa: PLC0415 - the same
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
        from truthloop.run.roles import clients_of  # noqa: PLC0415 - the same

        settings = load_settings(config)
        found = _found(settings)
        if refused := [one for one, _ in found if one.refusal]:
            raise ConfigError(
                "it cannot be applied to a running loop: " + "; ".join(f"{one}: {one.refusal}" for one in refused),
                where=str(settings.path),
                hint="Put these back and apply the rest, or begin another loop with this config: truthloop rescale.",
            )
        _tell(found)
        if not found:
            return
        clients, topics = clients_of(settings, "apply"), Topics.of(settings.config)
        check_topics(partition_counts(clients, topics.all), topics)
        send_rules(clients, topics, rules_text(settings.config))
        note(f"Told all {topics.partitions} partitions; `truthloop plan` shows nothing once all have taken it up.")


def _found(settings: "Settings") -> list[tuple["Difference", list[int]]]:
    """Return what differs, and in which partitions; partitions that have no step yet take up what the config says."""
    from streams.kafka.topics import Topics, partition_counts  # noqa: PLC0415 - the same
    from streams.ledger.rules import differences, rules_text  # noqa: PLC0415 - the same
    from streams.ledger.topic import LedgerReader  # noqa: PLC0415 - keeps --help fast
    from truthloop.run.roles import clients_of  # noqa: PLC0415 - the same

    clients, topics = clients_of(settings, "plan"), Topics.of(settings.config)
    ledger, rules = LedgerReader(clients, topics.ledger), rules_text(settings.config)
    found: dict[str, tuple[Difference, list[int]]] = {}
    for number in range(partition_counts(clients, [topics.ledger]).get(topics.ledger, 0)):
        last = ledger.last(number)
        for one in differences(last.policy, rules) if last is not None else ():
            found.setdefault(str(one), (one, []))[1].append(number)
    return list(found.values())


def _tell(found: list[tuple["Difference", list[int]]]) -> None:
    if not found:
        results.print("The rules in force are those of the config.")
    for one, numbers in found:
        rule, old, new = one.rule, _value(one.rule, one.old), _value(one.rule, one.new)
        results.print(f"  {rule.removesuffix('_ms')}: {old} -> {new}   (partitions {_numbers(numbers)})")
        if one.refusal:
            results.print(f"    cannot be applied: {one.refusal}")
        elif effect := _effect(one):
            results.print(f"    {effect}")
    results.print(_RESTARTED)


def _effect(one: "Difference") -> str:
    """Return what a change does to what is pending."""
    rule = one.rule.rpartition(".")[2]
    if rule == "horizon_ms" and one.new < one.old:
        return "What is pending and older than the new horizon times out at once."
    if rule == "horizon_ms":
        return "What is pending waits for the new deadline; what has timed out stays so until a label comes."
    if rule == "retain_ms" and one.new < one.old:
        return "What is older leaves the state at once; labels for it will not find it any more."
    if rule == "retain_ms":
        return "What has left the state does not come back; the longer reach holds for what is there now."
    if rule in {"implies", "implied"}:
        return "It holds for deadlines that pass from then on."
    return ""


def _value(rule: str, value: Any) -> str:  # noqa: ANN401 - any JSON value
    from schemas.base.duration import format_duration  # noqa: PLC0415 - keeps --help fast

    return format_duration(value) if rule.endswith("_ms") and isinstance(value, int) else repr(value)


def _numbers(numbers: list[int]) -> str:
    is_row = numbers == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]} to {numbers[-1]}" if is_row and len(numbers) > 1 else ", ".join(map(str, numbers))
