"""docs/operations.md is true: its rights are enough, and the messages that it lists are the product's own."""

import ast
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import polars as pl
import pytest
import yaml
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from confluent_kafka.cimpl import NewTopic
from example_loop import ROOT, ExampleLoop, ExpectedResults, generator, is_caught_up
from kafka_fixture import QUICK_START
from live_case import DAY_MS, running

from lake import Lake
from truthloop.broker.local_broker import LocalBroker
from truthloop.broker.security import BrokerSecurity
from truthloop.clock import now_ms

PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
PRINCIPALS = ("ingest", "repair", "join", "lake", "feedback", "operator")
PASSWORD = "not-a-secret"  # noqa: S105 - of a broker that lives as long as a test
RIGHTS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Create": AclOperation.CREATE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "topics": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def rules(loop: str, sources: list[str]) -> Iterator[AclBinding]:
    """Give the page's access rules for a loop."""
    for principal, place, rights in rows("Access rules"):
        kind, name, prefix = re.fullmatch(r"([a-z ]+) `([^`]+)`( \(prefix\))?", place).groups()
        pattern = ResourcePatternType.PREFIXED if prefix else ResourcePatternType.LITERAL
        for real in sources if name == "SOURCE" else [name.replace("LOOP", loop)]:
            for right in rights.split(", "):
                user, allow = f"User:{principal}", AclPermissionType.ALLOW
                yield AclBinding(RESOURCES[kind], real, pattern, user, "*", RIGHTS[right], allow)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker that lets nobody do anything without a rule; its own user may do everything."""
    security = BrokerSecurity(password=PASSWORD)
    users = " ".join(f'user_{name}="{PASSWORD}"' for name in (security.username, *PRINCIPALS))
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    properties = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": f"User:{security.username};User:ANONYMOUS",  # its controller's listener knows no users
        "listener.name.clients.plain.sasl.jaas.config": (
            f'{login} username="{security.username}" password="{PASSWORD}" {users};'
        ),
    }
    with LocalBroker(tmp_path / "kafka", security=security, properties=properties, java_options=QUICK_START) as broker:
        yield broker


@pytest.mark.timeout(400)
def test_the_rights_on_the_page_are_enough(guarded: LocalBroker, tmp_path: Path) -> None:
    """For a whole loop, each role as a user of its own, from the start to a lost state that is restored."""
    admin = AdminClient(guarded.client_properties)
    traffic = generator("02-card-fraud").make(Random(5), 300, now_ms() - 240 * DAY_MS)
    with running(ExampleLoop(tmp_path, guarded.bootstrap_servers, "02-card-fraud", partitions=2)) as loop:
        topics = {loop.prefix + name: count for name, count in generator("02-card-fraud").TOPICS.items()}
        wanted = [NewTopic(name, num_partitions=count, config={"retention.ms": "-1"}) for name, count in topics.items()]
        futures = [*admin.create_topics(wanted).values(), *admin.create_acls([*rules(loop.name, [*topics])]).values()]
        assert [future.result(30) for future in futures] == [None] * len(futures)
        producer = Producer(guarded.client_properties)
        for record in traffic.in_order():
            producer.produce(loop.prefix + record.topic, record.value, record.key, timestamp=record.at_ms)
        assert producer.flush(30) == 0

        loop.environ |= login_of(guarded, "operator")
        loop.begin()
        for role in ("ingest", "lake"):
            loop.run(role, **login_of(guarded, role))
        join = loop.run("join", **login_of(guarded, "join"))
        loop.wait("ingest's end", lambda: not any(loop.status().ingest.values()))
        truth = ExpectedResults("\n".join(traffic.truth_lines()))
        closed = loop.command("close", truth.close_at)
        assert closed.returncode == 0, closed.stderr
        loop.wait("the last deadline", lambda: is_caught_up(loop.status()))
        loop.until_same(lambda: truth.differences(loop))

        loop.run("feedback", **login_of(guarded, "feedback"))
        loop.wait("a decision that was published", lambda: published(loop) > 0)
        assert read_back(guarded, f"{loop.name}.decisions", f"{loop.name}.evidence") >= {"decisions", "evidence"}

        join.terminate()
        assert join.wait(60) == 0
        shutil.rmtree(loop.settings.state)
        loop.run("join", **login_of(guarded, "join"))
        on = [f"partition {number} continues at step" for number in range(loop.partitions)]
        loop.wait("the restored state", lambda: all(loop.log("join").count(line) == 2 for line in on))
        assert loop.log("join").count("the state is restored from the lake") == loop.partitions
        assert loop.command("status").returncode == 0
        assert "Taken again: 1 records." in redriven(loop, guarded, producer, tmp_path)
        loop.wait("the label in the lake", lambda: repaired_labels(loop) == ["tx-renamed"])
        assert Lake.open(loop.settings.lake).scan("rejects").filter(pl.col("stage") == "repair").collect().is_empty()
        assert refusal(guarded, "lake", f"{loop.name}.outcomes") == KafkaError.TOPIC_AUTHORIZATION_FAILED


def redriven(loop: ExampleLoop, broker: LocalBroker, producer: Producer, tmp_path: Path) -> str:
    """Have a record rejected whose producer has renamed its key, mend the map, and return what `redrive` says."""
    verdict = {"txn": "tx-renamed", "decided_at": now_ms() // 1000, "verdict": "FRAUD"}
    producer.produce(f"{loop.prefix}review.verdicts", json.dumps(verdict))
    assert producer.flush(30) == 0
    loop.environ |= login_of(broker, "repair")
    loop.wait("a reject", lambda: "bad_key" in loop.command("dlq", "list").stdout)
    config = yaml.safe_load(loop.config.read_text("utf-8"))
    config["ingest"][1]["map"]["key"] = "txn"
    loop.config = tmp_path / "mended.yaml"  # not the example's own file
    loop.config.write_text(yaml.safe_dump(config), "utf-8")
    done = loop.command("dlq", "redrive", "--reason", "bad_key")
    assert done.returncode == 0, done.stderr
    return done.stdout


def repaired_labels(loop: ExampleLoop) -> list[str]:
    """Return the keys of labels in the lake that were taken again."""
    labels = Lake.open(loop.settings.lake).scan("labels")
    return labels.filter(pl.col("flags").list.contains("record:repaired")).collect()["key"].to_list()


def published(loop: ExampleLoop) -> int:
    """Return how many entries of the gate's log have gone out."""
    return Lake.open(loop.settings.lake).applied("decisions", "published:fraud")


def read_back(broker: LocalBroker, *topics: str) -> set[str]:
    """Return the last word of the topics in which there is anything."""
    reader = Consumer(broker.client_properties | {"group.id": "test", "auto.offset.reset": "earliest"})
    reader.subscribe([*topics])
    found: set[str] = set()
    silent = 0
    while silent < 60 and len(found) < len(topics):
        message = reader.poll(0.5)
        silent = silent + 1 if message is None else 0
        if message is not None and message.error() is None:
            found.add(str(message.topic()).rpartition(".")[2])
    reader.close()
    return found


def login_of(broker: LocalBroker, user: str) -> dict[str, str]:
    """Return what makes a process of the loop log in as this user."""
    properties = {
        name: value for name, value in broker.client_properties.items() if name.startswith(("ssl", "security"))
    }
    properties |= {"sasl.mechanism": "PLAIN", "sasl.username": user}
    section = ", ".join(f'"{name}": "{value}"' for name, value in properties.items())
    return {"TRUTHLOOP_KAFKA__CLIENT": f"{{{section}}}", "TRUTHLOOP_KAFKA_SASL_PASSWORD": PASSWORD}


def refusal(broker: LocalBroker, user: str, topic: str) -> int | None:
    """Return the error with which a user's record is refused."""
    errors: list[KafkaError | None] = []
    producer = Producer(broker.client_properties | {"sasl.username": user, "sasl.password": PASSWORD, "log_level": 0})
    producer.produce(topic, b"{}", on_delivery=lambda error, _message: errors.append(error))
    assert producer.flush(30) == 0
    return None if errors[0] is None else errors[0].code()


def test_every_message_on_the_page_is_one_of_the_product() -> None:
    """A message that was reworded is reworded on the page, too."""
    said = [text for package in ("streams", "lake", "retrain", "truthloop") for text in texts_below(ROOT / package)]
    for cells in rows("Troubleshooting"):
        for quoted in quotes(cells[0]):
            assert any(quoted in text for text in said), f"nothing says {quoted!r}"


def test_every_error_that_stops_a_role_is_on_the_page() -> None:
    """What a running role can end or stop with."""
    listed = [quoted for cells in rows("Troubleshooting") for quoted in quotes(cells[0])]
    for name in OF_ROLES:
        for line, said in raised(ROOT / "streams" / f"{name}.py"):
            assert any(quoted in text for quoted in listed for text in said), f"{name}.py:{line} raises {said}"


OF_ROLES = [
    *("feedback/faust_app", "feedback/role", "runtime/health", "messages/command", "ledger/topic"),
    *("ingest/assignment", "ingest/mapper", "ingest/offsets", "ingest/poison_pill", "ingest/preflight", "ingest/role"),
    *(
        "join_worker/assignment",
        "join_worker/committed",
        "join_worker/recovery",
        "join_worker/role",
        "join_worker/task",
    ),
    *("kafka/client", "kafka/fencing", "kafka/range", "kafka/topics", "kafka/transaction"),
    *("lake_sink/commit", "lake_sink/cut", "lake_sink/progress"),
    *("lake_sink/reader", "lake_sink/role", "lake_sink/rows"),
    *("state_store/database", "state_store/restore", "state_store/store"),
]

ERRORS = {"BrokerError", "StateError", "LakeError", "FencedError", "TopicMismatchError"}
ERRORS |= {"_error", "_mismatch"}  # what a class makes its own errors with


LETTERS = 10
"""A text with fewer, apart from placeholders, is too short to be recognised."""


def quotes(cell: str) -> list[str]:
    """Return what a cell quotes; what has backticks itself stands between double ones."""
    return [double or single for double, single in re.findall(r"`` (.+?) ``|`([^`]+)`", cell)]


def texts_below(folder: Path) -> Iterator[str]:
    """Give all texts in the code below a folder."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            yield from texts(node)


def raised(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Give the texts of each error that a file makes; not where they are handed on as a variable."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and name_of(node.func) in ERRORS:
            found = [text for part in ast.walk(node) for text in texts(part)]
            if any(len(text.replace("{}", "")) > LETTERS for part in node.args[:2] for text in texts(part)):
                yield node.lineno, found


def name_of(called: ast.expr) -> str:
    """Return the last part of a function's name."""
    return getattr(called, "id", None) or getattr(called, "attr", "")


def texts(node: ast.AST) -> Iterator[str]:
    """Give a text as it is said, with braces where values are."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
