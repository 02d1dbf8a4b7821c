"""What an evaluation makes of the gate: triggers, requirements, and the reason in words. Pure.

Drift asks when the config lists it, an open alert of the labels holds everything back, and whatever is refused says
why. Must not read a clock or the lake; how findings come about is the monitor's matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from retrain.gate import DAY_MS, Gate
from schemas.base.duration import format_duration
from schemas.config.retrain import RetrainConfig, Trigger
from schemas.events.backfill import Episode
from schemas.events.evidence import Condition, Evaluation, Finding, FindingKind, GateState, Level, Place

__all__ = ["BUDGET_WINDOW_MS", "Judgement", "cooling_until_ms", "judge"]

BUDGET_WINDOW_MS: Final = 30 * DAY_MS
BACK_OFF_MAX: Final = 8
"""After retrains in a row that came to nothing the cooldown doubles, at most three times."""

_DRIFT = frozenset({FindingKind.ERROR_DRIFT, FindingKind.SHIFT})
_HOLDS = frozenset({FindingKind.COVERAGE, FindingKind.SILENCE})
_PLACES = frozenset({Place.ERROR, Place.OUTPUT, Place.LABEL, Place.FEATURES})


@dataclass(frozen=True)
class Judgement:
    """What an evaluation makes of a gate at rest.

    Attributes:
        state: where it leads.
        reason: why, as one sentence.
        findings: what spoke for a retrain.
        conditions: what was required, met or not.
    """

    state: GateState
    reason: str
    findings: list[Finding]
    conditions: list[Condition]


def judge(
    gate: Gate, evaluation: Evaluation, retrain: RetrainConfig | None, waiting: Sequence[Episode] = ()
) -> Judgement:
    """Return what the evaluation makes of the gate.

    Args:
        gate: before it.
        evaluation: of the gate's kind.
        retrain: the config's section; None: nobody is ever asked.
        waiting: backfills that nobody has ruled about yet. They hold nothing back: their cohorts are in no data set.
    """
    triggers = _triggers(gate, evaluation, retrain)
    if gate.is_open:
        reason = f"retrain {gate.decision} is open since {_days(evaluation.at - (gate.decided_ms or evaluation.at))}"
        return Judgement(gate.state, reason, triggers, [])
    conditions = [] if retrain is None else _conditions(gate, evaluation, retrain)
    holds = [] if retrain is not None and retrain.require.coverage == "any" else _broken(evaluation)
    unmet = [condition for condition in conditions if not condition.is_met]
    cooling = gate.state is GateState.COOLING and any(condition.name == "cooldown" for condition in unmet)
    if cooling:
        state, reason = GateState.COOLING, _cooling_text(triggers, unmet)
    elif evaluation.judged_day is None:
        state, reason = GateState.UNKNOWN, "no day is old enough to be judged yet"
    elif holds:
        state, reason = GateState.HELD, f"labels cannot be trusted now: {holds[0].text}"
    elif not triggers and waiting:
        state, reason = GateState.WAITING, _waiting_text(waiting)
    elif not triggers:
        state, reason = _without_trigger(evaluation)
    elif retrain is None:
        state, reason = GateState.WATCHING, f"{triggers[0].text}; the config asks nobody (no `retrain` section)"
    elif unmet:
        state, reason = GateState.WATCHING, f"{triggers[0].text}; not asked: {_needs(unmet)}"
    else:
        state, reason = GateState.PREPARING, f"{triggers[0].text}; every requirement is met"
    return Judgement(state, reason, triggers, conditions)


def cooling_until_ms(gate: Gate, retrain: RetrainConfig) -> int | None:
    """Return the evidence time until which nothing is asked again; None before the first end of anything."""
    if gate.ended_ms is None:
        return None
    return gate.ended_ms + retrain.require.cooldown * min(1 << gate.failures, BACK_OFF_MAX)


def _triggers(gate: Gate, evaluation: Evaluation, retrain: RetrainConfig | None) -> list[Finding]:
    """Return what the config lists: approved backfills, and alarms; without a section all that it could list."""
    listed: frozenset[Trigger] = frozenset(get_args(Trigger) if retrain is None else retrain.when)
    approved = [_approval(evaluation.kind, one) for one in gate.approved if "backfill" in listed]
    alarms = [finding for finding in evaluation.findings if finding.level is Level.ALARM]
    return approved + [
        finding
        for finding in alarms
        if ("drift" in listed and finding.kind in _DRIFT and finding.place in _PLACES)
        or ("metric_loss" in listed and finding.kind is FindingKind.METRIC_LOSS)
    ]


def _approval(kind: str, episode: str) -> Finding:
    return Finding(
        kind=FindingKind.BACKFILL,
        place=Place.LABELS,
        subject=kind,
        level=Level.ALARM,
        text=f"backfill {episode} was approved: labels that a model may have learned from are no longer of record",
    )


def _waiting_text(waiting: Sequence[Episode]) -> str:
    first = waiting[0]
    more = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return f"backfill {first.id} waits for a person{more}: truthloop backfill diff {first.id}"


def _conditions(gate: Gate, evaluation: Evaluation, retrain: RetrainConfig) -> list[Condition]:
    require = retrain.require
    conditions = []
    if require.coverage == "ok":
        broken = _broken(evaluation)
        unsure = [finding for finding in evaluation.findings if _is_unsure(finding)]
        value = broken[0].text if broken else unsure[0].text if unsure else "ok"
        conditions.append(Condition(name="coverage", value=value, needed="ok", is_met=not broken and not unsure))
    conditions.append(_at_least("mature_labels", evaluation.mature_labels, require.mature_labels))
    if evaluation.rarer_class is not None:
        conditions.append(_at_least("rarer_class", evaluation.rarer_class, require.rarer_class))
    until_ms = cooling_until_ms(gate, retrain)
    left_ms = 0 if until_ms is None else max(until_ms - evaluation.at, 0)
    conditions.append(
        Condition(
            name="cooldown",
            value=f"{_days(left_ms)} left" if left_ms else "over",
            needed=f"{format_duration(require.cooldown)} since the last one ended",
            is_met=left_ms == 0,
        )
    )
    asked = sum(at_ms > evaluation.at - BUDGET_WINDOW_MS for at_ms in gate.asked_ms)
    conditions.append(
        Condition(
            name="budget",
            value=f"{asked} asked within 30 days",
            needed=f"at most {require.budget}",
            is_met=asked < require.budget,
        )
    )
    return conditions


def _broken(evaluation: Evaluation) -> list[Finding]:
    """Return the alarms about the labels themselves."""
    return [finding for finding in evaluation.findings if finding.kind in _HOLDS and finding.level is Level.ALARM]


def _is_unsure(finding: Finding) -> bool:
    """Tell whether nobody can say yet that labels come as they should: silence is never success."""
    return finding.kind is FindingKind.COVERAGE and finding.level is Level.CALIBRATING


def _at_least(name: str, value: int, needed: int) -> Condition:
    return Condition(name=name, value=f"{value:,}", needed=f"at least {needed:,}", is_met=value >= needed)


def _without_trigger(evaluation: Evaluation) -> tuple[GateState, str]:
    noted = [finding for finding in evaluation.findings if finding.level in (Level.WARN, Level.ALARM)]
    if noted:
        return GateState.WATCHING, noted[0].text
    return GateState.IDLE, "nothing speaks for a retrain"


def _needs(unmet: list[Condition]) -> str:
    return ", ".join(f"{condition.name} is {condition.value} (needed: {condition.needed})" for condition in unmet)


def _cooling_text(triggers: list[Finding], unmet: list[Condition]) -> str:
    said = f"{triggers[0].text}; not asked: " if triggers else ""
    return said + _needs([condition for condition in unmet if condition.name == "cooldown"])


def _days(duration_ms: int) -> str:
    return f"{duration_ms / DAY_MS:.1f} days"
