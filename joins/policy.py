"""The rules of one loop's join, taken from its config."""

from dataclasses import dataclass

from joins.record import LabelValue
from joins.state import ChainName, chain_name, name_code
from schemas.config.loop import LoopConfig

__all__ = [
    "FUTURE_REJECT_MS",
    "FUTURE_WATERMARK_MS",
    "LABELS_PER_CHAIN_MAX",
    "ChainRules",
    "KindPolicy",
    "KindRules",
    "Policy",
    "policy_from",
]

FUTURE_WATERMARK_MS = 300_000
"""A time further ahead than five minutes moves no watermark: producers' clocks differ by less."""

FUTURE_REJECT_MS = 3_600_000
"""A time further ahead than an hour is rejected, as Kafka 4 brokers do by default."""

LABELS_PER_CHAIN_MAX = 16
"""Labels kept per key, kind and definition; more corrections than this push out the oldest."""

EXPIRY_LIMIT = 100_000
"""Entries that one step may time out, evict or drop, each: a long close is spread over steps."""

DEFINITIONS_REMEMBERED = 1_000
"""Definitions of a kind whose rules are cached; a source that invents more costs a look-up each."""

WAITING_BYTES_MAX = 256 * 1024 * 1024
"""Memory for labels whose prediction has not come, per partition; beyond it the oldest go."""


@dataclass(frozen=True, slots=True)
class KindPolicy:
    """The rules of one label kind.

    Attributes:
        definition: the loop's own; only outcomes of this one expire, are implied and are counted.
        horizon_ms: age at which a prediction without a label is final.
        retain_ms: a label joins a prediction if its known_at is within this of the prediction's time.
        implies: whether the deadline implies a value instead of expiring.
        implied: the value implied.
    """

    definition: str
    horizon_ms: int
    retain_ms: int
    implies: bool = False
    implied: LabelValue = None


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What applies to the chains of one kind and definition.

    Attributes:
        is_own: whether the definition is the loop's own.
        code: number that stands for the name in fingerprints.
    """

    name: ChainName
    kind: str
    definition: str
    is_own: bool
    horizon_ms: int
    retain_ms: int
    code: int


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of one loop.

    Attributes:
        disorder_ms: how far records of one input may be out of order.
        expiry_limit: bound on the entries that one step times out, evicts or drops, each.
        waiting_bytes_max: bound on labels of keys without a prediction, per partition.
    """

    kinds: dict[str, KindPolicy]
    disorder_ms: int = 0
    expiry_limit: int = EXPIRY_LIMIT
    waiting_bytes_max: int = WAITING_BYTES_MAX

    @property
    def retain_ms(self) -> int:
        """The greatest retain of all kinds: how long a key stays."""
        return max(kind.retain_ms for kind in self.kinds.values())

    def rules_of(self, kind: str, definition: str) -> ChainRules:
        """Return what applies to the chains of a kind and definition."""
        rules = self.kinds[kind]
        name = chain_name(kind, definition)
        is_own = definition == rules.definition
        return ChainRules(name, kind, definition, is_own, rules.horizon_ms, rules.retain_ms, name_code(name))


class KindRules(dict[str, ChainRules]):
    """The rules of one kind by definition, each looked up when it is first asked for.

    Args:
        policy: the loop's rules.
        kind: label kind.
    """

    def __init__(self, policy: Policy, kind: str) -> None:
        super().__init__()
        self._policy = policy
        self._kind = kind

    def __missing__(self, definition: str) -> ChainRules:
        if len(self) >= DEFINITIONS_REMEMBERED:
            self.clear()
        rules = self[definition] = self._policy.rules_of(self._kind, definition)
        return rules


def policy_from(config: LoopConfig) -> Policy:
    """Take the join's rules out of a loop's config."""
    kinds = {}
    for name, label in config.labels.items():
        implied = label.implied_value(config.predictions.outputs[name].task)
        kinds[name] = KindPolicy(
            definition=label.definition,
            horizon_ms=label.horizon,
            retain_ms=label.retain,
            implies=implied is not None,
            implied=implied,
        )
    return Policy(kinds=kinds, disorder_ms=config.disorder)
