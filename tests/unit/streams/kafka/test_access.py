"""The access rules of a loop: those of the page, which a broker that refuses all else has proved to be enough."""

import re
from pathlib import Path

from ingest_case import loop_with

from schemas.config.loop import LoopConfig
from streams.kafka.access import AccessRule, access_rules, acl_commands

PAGE = (Path(__file__).parents[4] / "docs" / "operations.md").read_text("utf-8")
SOURCE = {"topic": "SOURCE", "as": "labels"}
KINDS = {"topic": "topic", "topics": "topic", "group": "group", "transactional id": "transactional-id"}


def on_the_page() -> list[AccessRule]:
    """Return the rules of the page."""
    section = PAGE.split("\n## Access rules\n")[1].split("\n## ")[0]
    found = []
    for row in re.findall(r"^\| (\w+) \| ([a-z ]+) `([^`]+)`( \(prefix\))? \| ([\w, ]+) \|$", section, re.MULTILINE):
        principal, kind, name, prefix, rights = row
        found.append(AccessRule(principal, KINDS[kind], name, tuple(rights.split(", ")), bool(prefix)))  # type: ignore[arg-type]
    return found


def config(**parts: object) -> LoopConfig:
    """Return the loop of the page."""
    return loop_with(SOURCE, loop="LOOP", **parts)


def test_the_rules_are_those_of_the_page() -> None:
    """In its order."""
    assert on_the_page() == list(access_rules(config()))


def test_names_of_a_company() -> None:
    """A prefix where it is the loop's own, else every topic by its name."""
    before = {rule.name for rule in access_rules(config(topics={"name": "acme.{loop}.{topic}.v1"})) if rule.is_prefix}
    assert before == {"acme.LOOP.", "LOOP-feedback-", "tl-LOOP-ingest-", "tl-LOOP-join-", "tl-LOOP-repair-"}
    rules = list(access_rules(config(topics={"name": "acme.{topic}.{loop}", "group": "g.{role}.{loop}"})))
    assert {rule.name for rule in rules if rule.is_prefix} == {
        "g.feedback.LOOP-",
        "tl-g.ingest.LOOP-",
        "tl-g.join.LOOP-",
        "tl-g.repair.LOOP-",
    }
    described = [rule.name for rule in rules if rule.principal == "lake" and rule.rights == ("Describe",)]
    assert sorted(described)[:3] == ["acme.commands.LOOP", "acme.commits.LOOP", "acme.decisions.LOOP"]
    assert len(described) == 10


def test_a_loop_without_ingest_needs_no_user_for_it() -> None:
    """Producers write the canonical form."""
    rules = list(access_rules(loop_with(loop="LOOP")))
    assert {rule.principal for rule in rules} == {"join", "lake", "feedback", "operator"}


def test_commands_of_kafka() -> None:
    """One a rule, to be read and run by who may."""
    lines = list(acl_commands(config(), "broker:9092"))
    start = "kafka-acls.sh --bootstrap-server broker:9092 --add --allow-principal User:"
    assert f"{start}join --operation Read --operation Write --topic LOOP.ledger" in lines
    assert f"{start}join --operation Write --transactional-id tl-LOOP-join- --resource-pattern-type prefixed" in lines
    assert len(lines) == len(on_the_page())
