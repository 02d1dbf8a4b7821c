"""Builds the entries of the gate's log that evidence makes: evaluations of days, and interruptions between them. Pure.

Each function gets the gate before the entry, and numbers the entry from it, like those of `retrain.log_entries`.
"""

from collections.abc import Sequence

from monitor.label_watch import Interruption
from retrain.gate import KNOWN_SOURCES, Gate, decision_id
from retrain.log_entries import EntryOrigin
from retrain.policy import judge, judge_interruption
from schemas.base.figures import days
from schemas.events.backfill import Episode
from schemas.events.dataset_rows import DatasetRows
from schemas.events.evidence import Decision, Evaluation, Event, Finding, FindingKind, GateState, Level

__all__ = ["evaluated", "interrupted", "restated"]


def evaluated(
    origin: EntryOrigin,
    gate: Gate,
    evaluation: Evaluation,
    waiting: Sequence[Episode] = (),
    dataset: DatasetRows | None = None,
) -> list[Decision]:
    """Return the entries of a day's evaluation: a deployment or an overdue retrain that it shows, then the evaluation.

    Args:
        gate: before the entries.
        evaluation: of the end of a day.
        waiting: backfills that wait for a person.
        dataset: rows of the data set that a retrain would have now, as for `retrain.policy.judge`.
    """
    entries: list[Decision] = []
    evaluation = _with_deployed_version(gate, evaluation)
    if gate.version is not None and evaluation.version not in (None, gate.version):
        entries.append(_deployed(origin, gate, evaluation))
        gate = gate.after(entries[-1])
    if _is_overdue(origin, gate, evaluation):
        reason = f"nobody has answered for {days(gate.open_for_ms(evaluation.at))}"
        entries.append(origin.entry(gate, Event.OVERDUE, gate.state, reason, at=evaluation.at))
        gate = gate.after(entries[-1])
    entries.append(_evaluation_entry(origin, gate, evaluation, waiting, dataset, Event.EVALUATED))
    return entries


def interrupted(origin: EntryOrigin, gate: Gate, found: Interruption) -> Decision:
    """Return the entry for labels that have begun to be missing since the last evaluation.

    Args:
        gate: before the entry.
        found: by a look between two ends of days.
    """
    judgement = judge_interruption(gate, found.findings, origin.retrain)
    fields = {"at": found.at_ms, "findings": found.findings, "faults": found.faults}
    return origin.entry(gate, Event.INTERRUPTED, judgement.state, judgement.reason, **fields)


def restated(
    origin: EntryOrigin,
    gate: Gate,
    evaluation: Evaluation,
    waiting: Sequence[Episode],
    dataset: DatasetRows | None = None,
) -> Decision:
    """Return the entry of the newest day's evaluation after a ruling has changed which labels are of record.

    Args:
        gate: before the entry; its evidence time is that of the ruling.
        evaluation: of the last evaluated day, computed again.
        waiting: backfills that wait for a person.
        dataset: rows of the data set that a retrain would have now, as for `retrain.policy.judge`.
    """
    evaluation = _with_deployed_version(gate, evaluation)
    now_known = evaluation.model_copy(update={"at": max(evaluation.at, gate.at_ms or 0)})
    return _evaluation_entry(origin, gate, now_known, waiting, dataset, Event.RESTATED)


def _evaluation_entry(
    origin: EntryOrigin,
    gate: Gate,
    evaluation: Evaluation,
    waiting: Sequence[Episode],
    dataset: DatasetRows | None,
    event: Event,
) -> Decision:
    judgement = judge(gate, evaluation, origin.retrain, waiting, dataset)
    begins = judgement.state is GateState.PREPARING and gate.state is not GateState.PREPARING
    # a day ends once; restatements may be evaluated several times at one evidence time
    number = f"{gate.following}" if event is Event.RESTATED else None
    new_id = decision_id(origin.loop, origin.kind, evaluation.at, evaluation.version, number)
    return origin.entry(
        gate,
        event,
        judgement.state,
        judgement.reason,
        at=evaluation.at,
        decision=new_id if begins else gate.decision,
        findings=judgement.findings,
        conditions=judgement.conditions,
        version=evaluation.version,
        sources=evaluation.sources,
        faults=evaluation.faults,
        memory=evaluation.memory,
        detail={
            "judged_day": evaluation.judged_day,
            "mature_labels": evaluation.mature_labels,
            KNOWN_SOURCES: len({*(gate.sources or ()), *evaluation.sources}),
        },
    )


def _with_deployed_version(gate: Gate, evaluation: Evaluation) -> Evaluation:
    """Return the evaluation with the gate's version if the new one breaks the contract, and so is not deployed yet."""
    if gate.version is None or not any(map(_breaks_contract, evaluation.findings)):
        return evaluation
    return evaluation.model_copy(update={"version": gate.version})


def _breaks_contract(finding: Finding) -> bool:
    return finding.kind is FindingKind.CONTRACT and finding.level is Level.ALARM


def _deployed(origin: EntryOrigin, gate: Gate, evaluation: Evaluation) -> Decision:
    reason = f"{evaluation.version} predicts in place of {gate.version}"
    if gate.is_open:
        reason = f"{reason}: the retrain is done"
    return origin.entry(gate, Event.DEPLOYED, GateState.COOLING, reason, at=evaluation.at, version=evaluation.version)


def _is_overdue(origin: EntryOrigin, gate: Gate, evaluation: Evaluation) -> bool:
    waits = gate.state in (GateState.REQUESTED, GateState.RUNNING) and not gate.is_overdue
    if not waits or origin.retrain is None:
        return False
    return gate.open_for_ms(evaluation.at) >= origin.retrain.target.overdue
