"""Manifest of one retrain: lineage from the model version that it led to, back to every input. Pure.

It is collected from the gate's log, the delivery attempts and the data set's own manifest.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from retrain.retrains import approved_before, retrains_of
from retrain.schedule import Attempt
from schemas.events.evidence import Decision, Event, GateState

__all__ = ["find_retrain", "run_manifest"]

_ANSWERS = frozenset({Event.ACCEPTED, Event.SUCCEEDED, Event.FAILED})
_METRIC = "metric:"
_FROM_DATASET = (
    *("order", "rows", "left_out", "holdout_left_out", "definition", "backfills", "coverage", "split_ms"),
    *("contract_sha256", "config_sha256", "code_sha256", "dependencies", "files"),
)

Document = dict[str, Any]


def find_retrain(entries: Sequence[Decision], name: str) -> str | None:
    """Return the id of the retrain that has this id, or of the last one that led to this model version."""
    found = None
    for one in retrains_of(entries):
        if one.id == name:
            return one.id
        versions = {entry.version for entry in entries if entry.decision == one.id and entry.event in _ANSWERS}
        if name in {one.following_version, *versions}:
            found = one.id
    return found


def run_manifest(
    entries: Sequence[Decision], decision: str, attempts: Sequence[Attempt], dataset: Mapping[str, Any] | None
) -> Document:
    """Return the manifest as a JSON document.

    Args:
        entries: the log of the retrain's label kind.
        decision: id of a retrain in this log.
        attempts: delivery attempts of any decision.
        dataset: manifest of its data set; None if it is not written yet, missing or changed.
    """
    mine = [entry for entry in entries if entry.decision == decision]
    begun = mine[0]
    history = next(one for one in retrains_of(entries) if one.id == decision)
    written = next((entry.detail for entry in mine if entry.event is Event.PREPARED), None)
    return {
        "retrain": decision,
        "loop": begun.loop,
        "kind": begun.kind,
        "state": history.state,
        "decided": _decided(begun),
        "approvals": _approvals(entries, begun),
        "dataset": _dataset(written, dataset),
        "deliveries": [_attempt(one) for one in attempts if one.decision == decision],
        "answers": [_answer(entry) for entry in mine if entry.event in _ANSWERS],
        "judged": [_note(entry) for entry in entries if _is_note(entry, Event.JUDGED, decision)],
        "refused": [_note(entry) for entry in entries if _is_note(entry, Event.REFUSED, decision)],
        "ended": None if history.is_open else _note(_end(mine)),
    }


def _decided(entry: Decision) -> Document:
    return {
        "evidence_at": entry.at,
        "entry": entry.number,
        "event": entry.event.value,
        "reason": entry.reason,
        "current_version": entry.version,
        "findings": [finding.model_dump(mode="json") for finding in entry.findings],
        "conditions": [condition.model_dump(mode="json") for condition in entry.conditions],
        **entry.detail,
    }


def _approvals(entries: Sequence[Decision], begun: Decision) -> list[Document]:
    """Return the approvals of the backfills that triggered the retrain."""
    before = entries[: begun.number]
    newest = {
        entry.episode.id: entry for entry in before if entry.event is Event.APPROVED and entry.episode is not None
    }
    return [
        {"episode": id_, "evidence_at": newest[id_].at, "reason": newest[id_].reason, **newest[id_].detail}
        for id_ in approved_before(entries, begun.decision or "")
    ]


def _dataset(written: Mapping[str, Any] | None, manifest: Mapping[str, Any] | None) -> Document | None:
    if written is None:
        return None
    known = {name: manifest.get(name) for name in _FROM_DATASET} if manifest is not None else {}
    return {
        "uri": written.get("dataset"),
        "manifest_uri": written.get("manifest"),
        "manifest_sha256": written.get("manifest_sha256"),
        "is_whole": manifest is not None,
        **known,
    }


def _attempt(one: Attempt) -> Document:
    return {
        "number": one.number,
        "at": one.at_ms,
        "outcome": one.outcome,
        "http_status": one.status,
        "detail": one.detail or None,
    }


def _answer(entry: Decision) -> Document:
    metrics = {name.removeprefix(_METRIC): value for name, value in entry.detail.items() if name.startswith(_METRIC)}
    return {
        "evidence_at": entry.at,
        "event": entry.event.value,
        "reason": entry.reason,
        "version": entry.version,
        "model_sha256": entry.detail.get("model_sha256"),
        "metrics": metrics,
    }


def _note(entry: Decision) -> Document:
    return {
        "evidence_at": entry.at,
        "event": entry.event.value,
        "reason": entry.reason,
        "version": entry.version,
        "detail": entry.detail,
    }


def _is_note(entry: Decision, event: Event, decision: str) -> bool:
    """Tell whether an entry names the retrain; while another one is open, it does so in its detail only."""
    return entry.event is event and decision in (entry.decision, entry.detail.get("decision"))


def _end(mine: Sequence[Decision]) -> Decision:
    return next(entry for entry in mine if entry.state is GateState.COOLING)
