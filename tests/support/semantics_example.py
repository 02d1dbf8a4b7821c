"""Runs the examples of docs/semantics.md: a few lines of records, and what must come of them."""

import re
from dataclasses import dataclass, field

from joins import Batch, KindPolicy, LabelRecord, MemoryStore, Op, Partition, Policy, PredictionRecord, Withdrawal
from schemas.base.duration import parse_duration_ms

__all__ = ["Example", "examples_of", "run"]

DAY_MS = 86_400_000
_BLOCK = re.compile(r"^```join(?P<rules>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_TIME = re.compile(r"(?:\+(\d+)d )?(\d+):(\d\d)")


@dataclass
class Example:
    """One block of the document.

    Attributes:
        line: where it begins, for messages.
        rules: settings of the first line.
        steps: records per step, as lines.
        outcomes: id -> expected words.
        rejects: expected (input, reason).
    """

    line: int
    rules: dict[str, str]
    steps: list[list[str]] = field(default_factory=lambda: [[]])
    outcomes: dict[str, list[str]] = field(default_factory=dict)
    rejects: list[tuple[str, str]] = field(default_factory=list)


def examples_of(text: str) -> list[Example]:
    """Return every example of a document."""
    found = []
    for block in _BLOCK.finditer(text):
        rules = dict(word.split("=") for word in block["rules"].split())
        example = Example(text[: block.start()].count("\n") + 1, rules)
        for line in block["body"].splitlines():
            if line == "--":
                example.steps.append([])
            elif line.startswith("= "):
                name, *words = line[2:].split()
                example.outcomes[name] = words
            elif line.startswith("! "):
                name, reason = line[2:].split()
                example.rejects.append((name, reason))
            else:
                example.steps[-1].append(line)
        found.append(example)
    return found


def run(example: Example) -> tuple[dict[str, list[str]], list[tuple[str, str]]]:
    """Play an example; return what came of it in the form in which it was expected."""
    implied = example.rules.get("on_timeout")
    kind = KindPolicy(
        "own",
        parse_duration_ms(example.rules.get("horizon", "3h")),
        parse_duration_ms(example.rules.get("retain", "24h")),
        implies=implied is not None,
        implied=None if implied is None else float(implied),
    )
    partition = Partition(Policy({"kind": kind}), MemoryStore(["kind"]))
    found: dict[str, list[str]] = {}
    rejects = []
    for step in example.steps:
        effects = partition.step(_batch(step, partition))
        rejects += [(row.input, row.reason.value) for row in effects.rejects]
        for row in effects.outcomes:
            if row.definition == "own":
                value = "-" if row.value is None else f"{row.value:g}"
                found[row.id] = [row.status.value, row.reason.value, value]
    for key, state in partition.store.items():
        for id_ in state.predictions or (key,):
            found.setdefault(id_, ["pending"])
    return found, rejects


def _batch(lines: list[str], partition: Partition) -> Batch:
    predictions: list[PredictionRecord] = []
    labels: list[LabelRecord] = []
    withdrawals: list[Withdrawal] = []
    close_at_ms = None
    first_p, first_l = partition.checkpoint.predictions_next, partition.checkpoint.labels_next
    for line in lines:
        time_ms, words, options = _parse(line)
        if words[0] == "predict":
            predictions.append(
                PredictionRecord(
                    first_p + len(predictions),
                    words[1],
                    options.get("id", words[1]),
                    time_ms,
                    int(options.get("content", 0)),
                    options.get("eligible") != "no",
                    None,
                )
            )
        elif words[0] == "close":
            close_at_ms = time_ms
        elif words[0] == "withdraw":
            withdrawals += _labels_of(partition, words[1], time_ms)
        else:
            op = {"label": Op.UPSERT, "retract": Op.RETRACT, "delete": Op.DELETE, "heartbeat": Op.HEARTBEAT}[words[0]]
            key = "" if op is Op.HEARTBEAT else words[1]
            value = float(words[2]) if op is Op.UPSERT else None
            definition = options.get("definition", "own")
            offset = first_l + len(labels)
            labels.append(LabelRecord(offset, key, "kind", definition, op, value, time_ms, time_ms))
    return Batch(
        predictions,
        labels,
        first_p + len(predictions),
        first_l + len(labels),
        now_ms=10 * DAY_MS,
        close_at_ms=close_at_ms,
        withdrawals=withdrawals,
    )


def _labels_of(partition: Partition, key: str, time_ms: int) -> list[Withdrawal]:
    state = partition.store.get(key)
    labels = [] if state is None else [label for some in state.labels.values() for label in some]
    return [Withdrawal("kind", label.known_at_ms, label.offset) for label in labels if label.time_ms == time_ms]


def _parse(line: str) -> tuple[int, list[str], dict[str, str]]:
    time = _TIME.search(line)
    assert time is not None, f"no time in {line!r}"
    days, hours, minutes = time.groups()
    time_ms = int(days or 0) * DAY_MS + int(hours) * 3_600_000 + int(minutes) * 60_000
    rest = (line[: time.start()] + line[time.end() :]).split()
    words = [word for word in rest if "=" not in word]
    return time_ms, words, dict(word.split("=") for word in rest if "=" in word)
