"""Topics that already hold canonical messages: their kinds, their contract, and the loop that owns them."""

from collections.abc import Sequence
from typing import Final

from schemas.base.metric_name import Task
from streams.columns.schema import Role
from truthloop.onboarding.draft.contract import TYPES, Contract, feature_line
from truthloop.onboarding.profiles.names import column_name
from truthloop.onboarding.profiles.topic import TopicProfile

__all__ = ["canonical_contract", "canonical_kinds", "canonical_loop", "is_canonical", "slug"]

SHARE: Final = 0.9
KINDS_MAX: Final = 20

_REQUIRED: Final[dict[Role, frozenset[str]]] = {
    "predictions": frozenset({"key", "time", "outputs"}),
    "labels": frozenset({"key", "time", "kind"}),
}


def is_canonical(topic: TopicProfile, role: Role) -> bool:
    """Return whether nearly all records have the fields of canonical messages."""
    objects = [one["data"] if type(one.get("data")) is dict and "specversion" in one else one for one in topic.objects]
    canonical = sum(1 for one in objects if _REQUIRED[role] <= set(one) and _has_types(one))
    return bool(objects) and canonical >= SHARE * len(objects)


def _has_types(one: dict[str, object]) -> bool:
    return type(one.get("outputs", {})) is dict and type(one.get("kind", "")) is str


def canonical_loop(predictions: Sequence[TopicProfile], labels: Sequence[TopicProfile]) -> str:
    """Return the loop whose own topics these are, by their names; empty if they are not a loop's own."""
    topics = [*predictions, *labels]
    names = {topic.topic.removesuffix(".predictions") for topic in predictions}
    names |= {topic.topic.removesuffix(".labels") for topic in labels}
    (name,) = names if len(names) == 1 else ("",)
    own = {f"{name}.predictions", f"{name}.labels"}
    if not name or name != slug(name) or not all(topic.topic in own for topic in topics):
        return ""
    fits = all(is_canonical(topic, "predictions") for topic in predictions)
    return name if fits and all(is_canonical(topic, "labels") for topic in labels) else ""


def canonical_kinds(topic: TopicProfile, role: Role) -> dict[str, Task]:
    """Return the kinds that canonical records name, with the task that their values suggest."""
    base = topic.envelope.inner
    if role == "labels":
        field, value = topic.fields.get(f"{base}kind"), topic.fields.get(f"{base}value")
        names = [] if field is None else [str(name) for name, _ in field.counts.most_common(KINDS_MAX)]
        is_class = value is not None and value.kind == "text"
        return {name: "multiclass" if is_class else "binary" for name in names if name == column_name([name])}
    found: dict[str, Task] = {}
    for field in topic.record_fields():
        name = field.path.removeprefix(f"{base}outputs.")
        if name != field.path and name == column_name([name]):
            is_share = field.is_number and field.limits[0] >= 0 and field.limits[1] <= 1
            found[name] = "binary" if is_share else "regression" if field.is_number else "multiclass"
    return found


def canonical_contract(topic: TopicProfile) -> Contract:
    """Return the slices and features of canonical predictions."""
    contract = Contract()
    for field in topic.record_fields():
        group, _, name = topic.inner_path(field.path).partition(".")
        if name != column_name([name]):
            continue
        if group == "slices" and field.kind == "text":
            contract.slices.append(name)
        elif group == "features" and field.kind in TYPES:
            contract.features.append(feature_line(topic, field, name))
            contract.has_personal |= field.looks_personal
    return contract


def slug(text: str) -> str:
    """Return a text as the name of a loop; empty if no character of it can be in one.

    >>> slug("Risk Scoring_EU")
    'risk-scoring-eu'
    """
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower()).strip("-")[:63]
