"""The rules that decide outcomes, as commands, ledger and lake carry them: one JSON text.

Rules in force are those of the newest step in the ledger, whatever a config file says: a file that was edited changes
nothing until it is applied. Must not read a ledger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from joins import Policy, policy_from
from joins.policy import KindPolicy
from schemas.config.loop import LoopConfig
from schemas.errors import ConfigError

__all__ = [
    "Difference",
    "Rules",
    "check_kinds",
    "check_rules",
    "differences",
    "read_rules",
    "refused_change",
    "rules_text",
]


@dataclass(frozen=True)
class Rules:
    """What one text says.

    Attributes:
        partitions: of the loop's topics.
        policy: the join's rules.
    """

    partitions: int
    policy: Policy


@dataclass(frozen=True)
class Difference:
    """One rule that two texts say otherwise.

    Attributes:
        rule: its path, for instance `labels.sale.horizon_ms`.
        old: its value in the one; None where it is not there.
        new: its value in the other.
        refusal: why a running loop cannot take it up; empty where it can.
    """

    rule: str
    old: Any
    new: Any
    refusal: str

    def __str__(self) -> str:
        return f"{self.rule} was {self.old!r} and is {self.new!r}"


class _Text(msgspec.Struct):
    partitions: int
    disorder_ms: int
    labels: dict[str, KindPolicy]


def rules_text(config: LoopConfig) -> str:
    """Return the rules of a config."""
    policy = policy_from(config)
    return msgspec.json.encode(_Text(config.partitions, policy.disorder_ms, policy.kinds)).decode()


def read_rules(text: str) -> Rules:
    """Return what `rules_text` wrote.

    Raises:
        msgspec.MsgspecError: it did not.
    """
    found = msgspec.json.decode(text, type=_Text)
    return Rules(found.partitions, Policy(found.labels, disorder_ms=found.disorder_ms))


def differences(old: str, new: str) -> list[Difference]:
    """Return every rule in which two texts differ, in the order of their paths."""
    found = _walk(msgspec.json.decode(old), msgspec.json.decode(new), "")
    return sorted((Difference(*one, _refusal(*one)) for one in found), key=lambda one: one.rule)


def refused_change(old: str, new: str) -> str:
    """Return why a running loop cannot go from the one to the other; empty where it can."""
    try:
        read_rules(new)
    except msgspec.MsgspecError as error:
        return f"they cannot be read: {error}"
    return "; ".join(f"{one}: {one.refusal}" for one in differences(old, new) if one.refusal)


def check_rules(config: LoopConfig, recorded: str) -> None:
    """Refuse rules other than the recorded ones, which the outcomes of a replayed lake were decided under.

    Raises:
        ConfigError: names every rule that differs, with both values.
    """
    if changes := differences(recorded, rules_text(config)):
        raise ConfigError(
            "the outcomes so far were decided under other rules: " + "; ".join(map(str, changes)),
            hint="Outcomes that were decided under one rule are not decided again under another: "
            "put the config back, or replay into another lake (lake.uri).",
        )


def check_kinds(recorded: str, wanted: str) -> None:
    """Refuse a config whose kinds of labels are not those of the rules in force: neither could be read as the other.

    Raises:
        ConfigError: names the kinds.
    """
    ours, theirs = read_rules(wanted).policy.kinds, read_rules(recorded).policy.kinds
    if set(ours) != set(theirs):
        raise ConfigError(
            f"the config has the label kinds {sorted(ours)}, and the running loop has {sorted(theirs)}",
            hint="A kind of label cannot come or go while the loop runs: put the config back, or begin a "
            "loop of another name with `truthloop rescale`.",
        )


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - any JSON value
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _walk(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))
    elif old != new:
        yield path, old, new


def _refusal(rule: str, old: Any, new: Any) -> str:  # noqa: ANN401 - any JSON value
    if rule == "partitions":
        return "keys would be placed otherwise than the records that are there"
    if rule.endswith(".definition"):
        return "outcomes of the old definition are counted; the new one is joined beside it already"
    if rule.startswith("labels.") and (old is None or new is None) and rule.count(".") == 1:
        return "a kind of label cannot come or go while the loop runs"
    return ""
