"""A loop whose topics and groups have the names of a company, with a name that has dots and capitals itself."""

from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from kafka_fixture import as_client
from live_case import DAY_MS, Loop, Traffic, finish, lake_differences, running

from schemas.config.topic_names import TopicNames
from truthloop.clock import now_ms

NAMES = TopicNames(name="acme.ml.{loop}.{topic}.v1", group="{role}.{loop}")


@pytest.mark.timeout(300)
def test_a_whole_loop_with_other_names(kafka: str, tmp_path: Path) -> None:
    """All roles find each other under these names, and nothing is made under any other."""
    with running(Loop(tmp_path, kafka, names=NAMES, prefix="Acme.Eu_")) as loop:
        planned = loop.command("start", "--from", "earliest", "--dry-run")
        assert planned.returncode == 0, planned.stderr
        assert f"--topic acme.ml.{loop.name}. --resource-pattern-type prefixed" in planned.stdout
        admin = AdminClient(as_client(kafka))
        assert not [name for name in admin.list_topics(timeout=30).topics if loop.name in name]
        loop.begin()
        traffic = Traffic(5, 200, now_ms() - 4 * DAY_MS)
        loop.produce(traffic)
        for role in ("join", "lake", "feedback"):
            loop.run(role)
        assert finish(loop, traffic) == []
        loop.wait("the lake", lambda: lake_differences(loop) == [])
        loop.wait("the page", lambda: "the page is at" in loop.log("feedback"))
        status = loop.command("status")
        assert status.returncode == 0, status.stderr
        made = {name for name in admin.list_topics(timeout=30).topics if loop.name in name}
        assert len(made) == 10
        own = {name for name in made if name.startswith(f"acme.ml.{loop.name}.") and name.endswith(".v1")}
        assert made - own == {f"feedback.{loop.name}-__assignor-__leader"}
        groups = {one.group_id for one in admin.list_consumer_groups(request_timeout=30).result().valid}
        assert {f"join.{loop.name}", f"lake.{loop.name}", f"feedback.{loop.name}"} <= groups
