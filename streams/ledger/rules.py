"""The join's rules as JSON text, the form in which commands, the ledger and the lake carry them.

The rules in force are those of the newest step in the ledger, whatever the config file says: an edited file changes
nothing until it is applied. Pure: callers bring the texts.
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
    "RuleDifference",
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
    """Rules read from their text.

    Attributes:
        partitions: number of partitions of the loop's topics.
        policy: rules of the join.
    """

    partitions: int
    policy: Policy


@dataclass(frozen=True)
class RuleDifference:
    """One rule with different values in two texts.

    Attributes:
        rule: path in the text, for instance `labels.sale.horizon_ms`.
        old: value in the old text; None where it is missing.
        new: value in the new text; None where it is missing.
        refusal: why a running loop cannot change this rule; empty where it can.
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


_decode = msgspec.json.Decoder(_Text).decode


def rules_text(config: LoopConfig) -> str:
    """Return the rules of a config as text."""
    policy = policy_from(config)
    return msgspec.json.encode(_Text(config.partitions, policy.disorder_ms, policy.kinds)).decode()


def read_rules(text: str) -> Rules:
    """Read a text of `rules_text`.

    Raises:
        msgspec.MsgspecError: the text holds no rules.
    """
    rules = _decode(text)
    return Rules(rules.partitions, Policy(rules.labels, disorder_ms=rules.disorder_ms))


def differences(old: str, new: str) -> list[RuleDifference]:
    """Return every rule that differs between two texts, ordered by path."""
    found = _walk(msgspec.json.decode(old), msgspec.json.decode(new), "")
    return sorted((RuleDifference(*one, _refusal(*one)) for one in found), key=lambda one: one.rule)


def refused_change(old: str, new: str) -> str:
    """Return why a running loop cannot change from the old rules to the new; empty where it can."""
    try:
        read_rules(new)
    except msgspec.MsgspecError as error:
        return f"the new rules cannot be read: {error}"
    return "; ".join(f"{one}: {one.refusal}" for one in differences(old, new) if one.refusal)


def check_rules(config: LoopConfig, recorded: str) -> None:
    """Refuse a replay under other rules than those that decided the outcomes in the lake.

    Raises:
        ConfigError: a rule differs; the message names each, with both values.
    """
    if changes := differences(recorded, rules_text(config)):
        raise ConfigError(
            "the outcomes so far were decided under other rules: " + "; ".join(map(str, changes)),
            hint="A replay does not decide existing outcomes again: put the config back, or replay into another lake "
            "(lake.uri).",
        )


def check_kinds(recorded: str, wanted: str) -> None:
    """Refuse a config whose label kinds differ from those of the rules in force.

    Raises:
        ConfigError: the kinds differ; the message names both sets.
    """
    ours, in_force = read_rules(wanted).policy.kinds, read_rules(recorded).policy.kinds
    if set(ours) != set(in_force):
        raise ConfigError(
            f"the config has the label kinds {sorted(ours)}, and the running loop has {sorted(in_force)}",
            hint="A running loop cannot gain or lose a label kind: put the config back, or begin a loop of another "
            "name with `truthloop rescale`.",
        )


def _walk(old: Any, new: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401 - any JSON value
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _walk(old.get(name), new.get(name), f"{path}.{name}".lstrip("."))
    elif old != new:
        yield path, old, new


def _refusal(rule: str, old: Any, new: Any) -> str:  # noqa: ANN401 - any JSON value
    if rule == "partitions":
        return "keys would move to other partitions than their existing records"
    if rule.endswith(".definition"):
        return "outcomes of the old definition are counted; those of the new one are joined already, in addition"
    if rule.startswith("labels.") and (old is None or new is None) and rule.count(".") == 1:
        return "a running loop cannot gain or lose a label kind"
    return ""
