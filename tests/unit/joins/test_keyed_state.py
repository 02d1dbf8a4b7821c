"""Two classes own a partition's state: no other code changes a key, a counter, the fingerprint or the waiting bytes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
OWNERS = {ROOT / "joins" / "keyed_state.py", ROOT / "joins" / "columnar_state.py"}
FORMS = {ROOT / "joins" / "state.py", ROOT / "joins" / "flat_form.py"}
STORES = {ROOT / "joins" / "store.py", ROOT / "streams" / "state_store" / "store.py"}
COUNTING = {ROOT / "joins" / "accounting.py"}

STATES = {"KeyState", "PredictionState", "LabelState", "Chain"}
"""What is kept of a key; whoever makes or changes one has to keep the account, too."""

ACCOUNT = {
    "fingerprint",
    "waiting_bytes",
    "counters",
    "counted_as",
    "joined",
    "out_of_reach",
    "predictions",
    "labels",
    "chains",
}
"""Fields of states and checkpoints that only the owners may set, add to, or change in place."""

COUNTS = {
    "consumed",
    "accepted",
    "duplicate",
    "conflict",
    "rejected",
    "heads",
    "superseded",
    "stale",
    "aged_out",
    "early",
}
CHANGING = {"pop", "append", "remove", "clear", "update", "setdefault", "sort", "insert", "extend"}
PARTS = {"prediction_part", "chain_part", "label_part"}


def modules() -> list[Path]:
    """Return the modules that handle partitions: the join, and the edges around it."""
    found = [*(ROOT / "joins").glob("*.py"), *(ROOT / "streams").rglob("*.py")]
    return sorted(set(found) - OWNERS - STORES - COUNTING)


def changes(tree: ast.Module, added: set[str] = ACCOUNT | COUNTS) -> Iterator[tuple[int, str]]:
    """Give each place that changes a state or its account; `added` are fields that nothing may be added to."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in STATES | PARTS:
                yield node.lineno, f"calls {name}"
            case ast.Call(
                func=ast.Attribute(value=ast.Attribute(attr="store" | "_store"), attr="put" | "delete" as name)
            ):
                yield node.lineno, f"calls the store's {name}"
            case ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name), attr=change)) if (
                name in ACCOUNT and change in CHANGING
            ):
                yield node.lineno, f"changes {name} by {change}"
            case ast.Assign(targets=targets) | ast.Delete(targets=targets):
                yield from ((node.lineno, f"sets {name}") for target in targets for name in target_of(target, ACCOUNT))
            case ast.AugAssign(target=target):
                yield from ((node.lineno, f"adds to {name}") for name in target_of(target, added))


def target_of(target: ast.expr, guarded: set[str]) -> Iterator[str]:
    """Give the guarded field that an assignment changes: `x.field`, `x.field[...]`."""
    match target:
        case ast.Attribute(value=ast.Name(id="self")):
            return
        case ast.Attribute(attr=name) if name in guarded:
            yield name
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id="self"))):
            return
        case ast.Subscript(value=ast.Attribute(attr=name)) if name in guarded:
            yield name


def test_only_the_owners_change_state_and_account() -> None:
    """What is counted and summed cannot drift from what is kept."""
    found = [
        f"{path.relative_to(ROOT)}:{line} {what}"
        for path in modules()
        if path not in FORMS
        for line, what in changes(
            ast.parse(path.read_text("utf-8")), ACCOUNT | COUNTS if path.parent == ROOT / "joins" else ACCOUNT
        )
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    [
        "state.labels[name] = []",
        "self._checkpoint.fingerprint -= 1",
        "checkpoint.waiting_bytes = 0",
        "checkpoint.counters.labels[kind].heads += 1",
        "label.joined = True",
        "state.predictions.pop(id_)",
        "del state.labels[name]",
        "self._store.delete(key)",
        "KeyState({}, {})",
        "label_part(label)",
    ],
)
def test_a_change_elsewhere_would_be_found(line: str) -> None:
    """The search itself can fail."""
    assert list(changes(ast.parse(line)))
