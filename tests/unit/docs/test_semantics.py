"""docs/semantics.md is true: every example in it is run."""

from pathlib import Path

import pytest
from semantics_example import Example, examples_of, run

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "semantics.md"
EXAMPLES = examples_of(DOCUMENT.read_text("utf-8"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"line {example.line}")
def test_an_example_of_the_document_is_what_the_join_does(example: Example) -> None:
    """Outcomes and rejected records are exactly those that the document shows."""
    outcomes, rejects = run(example)
    shown = {name: outcomes[name] for name in example.outcomes}
    assert shown == example.outcomes
    assert rejects == example.rejects


def test_the_document_has_an_example_for_every_rule() -> None:
    """A bold sentence is a rule, and is followed by an example; the parser found them all."""
    text = DOCUMENT.read_text("utf-8")
    assert len(EXAMPLES) == text.count("```join")
    assert len(EXAMPLES) >= text.count("\n**")
