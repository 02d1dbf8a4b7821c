"""Decides from an evaluation whether to request a retrain: triggers, requirements, and the reason as a sentence. Pure.

A finding triggers if the config lists its kind; an open alert about the labels themselves holds every retrain. Findings
come from `monitor.evaluation`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from retrain.dataset_rows import left_out_text
from retrain.gate import DAY_MS, Gate
from schemas.base.duration import format_duration
from schemas.base.figures import days
from schemas.config.retrain import RetrainConfig, Trigger
from schemas.events.backfill import Episode
from schemas.events.dataset_rows import DatasetRows
from schemas.events.evidence import Condition, Evaluation, Finding, FindingKind, GateState, Level, Place

__all__ = ["BUDGET_WINDOW_MS", "Judgement", "cooling_until_ms", "judge", "judge_interruption"]

BUDGET_WINDOW_MS: Final = 30 * DAY_MS
BACK_OFF_MAX: Final = 8
"""Greatest factor on the cooldown; it doubles with each failed retrain in a row."""

_DRIFT = frozenset({FindingKind.ERROR_DRIFT, FindingKind.SHIFT})
_HOLDS = frozenset({FindingKind.COVERAGE, FindingKind.SILENCE})
_PLACES = frozenset({Place.ERROR, Place.OUTPUT, Place.LABEL, Place.FEATURES})


@dataclass(frozen=True)
class Judgement:
    """The gate's next state, and why.

    Attributes:
        reason: one sentence.
        findings: triggers for a retrain.
        conditions: requirements, met or not.
    """

    state: GateState
    reason: str
    findings: list[Finding]
    conditions: list[Condition]


def judge(
    gate: Gate,
    evaluation: Evaluation,
    retrain: RetrainConfig | None,
    waiting: Sequence[Episode] = (),
    dataset: DatasetRows | None = None,
) -> Judgement:
    """Judge an evaluation: return the state that it moves the gate to.

    Args:
        gate: before the evaluation.
        evaluation: of the gate's kind.
        retrain: section of the config; None: no retrain is ever requested.
        waiting: backfills that wait for a person. They hold no retrain: their cohorts are left out of data sets.
        dataset: rows of the data set that a retrain would have now; None: not counted, and nothing is required of it.
    """
    triggers = _triggers(gate, evaluation, retrain)
    if gate.is_open:
        reason = f"retrain {gate.decision} has been open for {days(gate.open_for_ms(evaluation.at))}"
        return Judgement(gate.state, reason, triggers, [])
    conditions = [] if retrain is None else _conditions(gate, evaluation, retrain)
    if retrain is not None and dataset is not None:
        conditions += _dataset_conditions(retrain, dataset)
    holds = [] if retrain is not None and retrain.require.coverage == "any" else _broken(evaluation)
    unmet = [condition for condition in conditions if not condition.is_met]
    cooling = gate.state is GateState.COOLING and any(condition.name == "cooldown" for condition in unmet)
    if cooling:
        state, reason = GateState.COOLING, _cooling_text(triggers, unmet)
    elif evaluation.judged_day is None:
        state, reason = GateState.UNKNOWN, "no day is old enough to be judged yet"
    elif holds:
        state, reason = GateState.HELD, _held_text(holds[0])
    elif not triggers and waiting:
        state, reason = GateState.WAITING, _waiting_text(waiting)
    elif not triggers:
        state, reason = _without_trigger(evaluation)
    elif retrain is None:
        state, reason = GateState.WATCHING, f"{triggers[0].text}; the config has no `retrain` section"
    elif unmet:
        state, reason = GateState.WATCHING, f"{triggers[0].text}; not requested: {_needs(unmet)}"
    else:
        state, reason = GateState.PREPARING, f"{triggers[0].text}; every requirement is met"
    return Judgement(state, reason, triggers, conditions)


def judge_interruption(gate: Gate, findings: Sequence[Finding], retrain: RetrainConfig | None) -> Judgement:
    """Judge labels that have begun to be missing since the last evaluation: they hold a gate that is at rest.

    Args:
        gate: before it.
        findings: on the labels, the worst first.
        retrain: as for `judge`.
    """
    is_required = retrain is None or retrain.require.coverage != "any"
    state, text = gate.state, findings[0].text
    if state in (GateState.IDLE, GateState.WATCHING, GateState.WAITING, GateState.HELD) and is_required:
        state, text = GateState.HELD, _held_text(findings[0])
    elif state is GateState.IDLE:
        state = GateState.WATCHING
    return Judgement(state, text, [], [])


def cooling_until_ms(gate: Gate, retrain: RetrainConfig) -> int | None:
    """Return the evidence time at which the cooldown ends; None if no retrain or deployment has ended yet."""
    if gate.ended_ms is None:
        return None
    return gate.ended_ms + retrain.require.cooldown * min(1 << gate.failures, BACK_OFF_MAX)


def _triggers(gate: Gate, evaluation: Evaluation, retrain: RetrainConfig | None) -> list[Finding]:
    """Return approved backfills and alarms of the kinds that the config lists; without a section, of every kind."""
    listed: frozenset[Trigger] = frozenset(get_args(Trigger) if retrain is None else retrain.when)
    approved = [_approval_finding(evaluation.kind, one) for one in gate.approved if "backfill" in listed]
    alarms = [finding for finding in evaluation.findings if finding.level is Level.ALARM]
    return approved + [
        finding
        for finding in alarms
        if ("drift" in listed and finding.kind in _DRIFT and finding.place in _PLACES)
        or ("metric_loss" in listed and finding.kind is FindingKind.METRIC_LOSS)
    ]


def _approval_finding(kind: str, episode: str) -> Finding:
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
            value=f"{days(left_ms)} left" if left_ms else "over",
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


def _dataset_conditions(retrain: RetrainConfig, dataset: DatasetRows) -> list[Condition]:
    """Return what is required of the data set: a model without training rows or without a holdout cannot be judged."""
    late = dataset.holdout_left_out
    early = {reason: count - late.get(reason, 0) for reason, count in dataset.left_out.items()}
    found = [_has_rows("training_rows", dataset.rows, early, "older predictions with labels, or a shorter holdout")]
    if retrain.dataset.holdout:
        more = "newer predictions with labels, or a longer retrain.dataset.holdout"
        found.append(_has_rows("holdout_rows", dataset.holdout_rows, late, more))
    return found


def _has_rows(name: str, rows: int, left_out: Mapping[str, int], more: str) -> Condition:
    """Return the condition that a part of the data set has rows; if not, with the reasons and what gives some."""
    if rows:
        return Condition(name=name, value=f"{rows:,}", needed="at least 1", is_met=True)
    left_out = {reason: count for reason, count in left_out.items() if count}
    why = f"0 ({left_out_text(left_out)})" if left_out else "0 (there is no prediction of its time)"
    return Condition(name=name, value=why, needed=f"at least 1: {more}", is_met=False)


def _broken(evaluation: Evaluation) -> list[Finding]:
    """Return the alarms about the labels themselves: silent sources first, which explain why labels are missing."""
    found = [finding for finding in evaluation.findings if finding.kind in _HOLDS and finding.level is Level.ALARM]
    return sorted(found, key=lambda finding: finding.kind is not FindingKind.SILENCE)


def _held_text(finding: Finding) -> str:
    return f"labels cannot be trusted now: {finding.text}"


def _is_unsure(finding: Finding) -> bool:
    """Tell whether label coverage cannot be judged yet; that counts as not ok."""
    return finding.kind is FindingKind.COVERAGE and finding.level is Level.CALIBRATING


def _at_least(name: str, value: int, needed: int) -> Condition:
    return Condition(name=name, value=f"{value:,}", needed=f"at least {needed:,}", is_met=value >= needed)


def _without_trigger(evaluation: Evaluation) -> tuple[GateState, str]:
    noted = [finding for finding in evaluation.findings if finding.level in (Level.WARN, Level.ALARM)]
    if noted:
        return GateState.WATCHING, noted[0].text
    return GateState.IDLE, "no finding calls for a retrain"


def _needs(unmet: list[Condition]) -> str:
    return ", ".join(f"{condition.name} is {condition.value} (needed: {condition.needed})" for condition in unmet)


def _cooling_text(triggers: list[Finding], unmet: list[Condition]) -> str:
    trigger = f"{triggers[0].text}; not requested: " if triggers else ""
    return trigger + _needs([condition for condition in unmet if condition.name == "cooldown"])
