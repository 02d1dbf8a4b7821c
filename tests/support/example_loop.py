"""The loops of the examples as tests run them, and the results that their generators expect."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import yaml
from live_case import DEADLINE_S, Loop

from lake import Lake
from streams.status import LoopStatus, read_loop_status
from truthloop.config.settings import Settings, load_settings
from truthloop.evidence.conservation import check_conservation
from truthloop.run.roles import kafka_clients

__all__ = ["EXAMPLES", "ROOT", "ExampleLoop", "ExpectedResults", "generator", "is_caught_up"]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"

DEPENDS_ON_ORDER = {("labels", "duplicate"), ("labels", "stale")}
"""Reasons that depend on which of two topics is read first."""


class ExampleLoop(Loop):
    """The loop of an example with its own config; the environment sets its folders and topics."""

    def __init__(self, folder: Path, servers: str, name: str, *, partitions: int | None = None) -> None:
        self.example = EXAMPLES / name
        config = yaml.safe_load((self.example / "truthloop.yaml").read_text("utf-8"))
        super().__init__(folder, servers, partitions=partitions or config["partitions"])
        self.config = self.example / "truthloop.yaml"
        self.prefix = f"{self.name}-"
        overrides = {"LOOP": self.name, "KAFKA__BOOTSTRAP_SERVERS": servers, "PARTITIONS": str(self.partitions)}
        overrides |= {"LAKE__URI": str(folder / "lake"), "STATE__DIR": str(folder / "state")}
        overrides["LAKE__FRESHNESS"] = "1s"
        for number, source in enumerate(config.get("ingest", ())):
            overrides[f"INGEST__{number}__TOPIC"] = self.prefix + source["topic"]
        self.environ = {f"TRUTHLOOP_{name}": value for name, value in overrides.items()}

    @property
    def settings(self) -> Settings:
        """The settings of the loop's processes."""
        return load_settings(self.config, self.environ)

    def program(self, name: str, *words: str) -> str:
        """Run a program of the example and return its output."""
        command = [sys.executable, str(self.example / name), "--bootstrap-servers", self.servers, *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def status(self) -> LoopStatus:
        """Return the progress of the roles."""
        settings = self.settings
        return read_loop_status(
            kafka_clients(settings, "test", os.environ | self.environ), settings.config, settings.lake
        )

    def until_same(self, differences: Callable[[], list[str]]) -> None:
        """Wait until there are no differences; the remaining ones are in the error."""
        found: list[str] = []

        def is_same() -> bool:
            found[:] = differences()
            return not found

        try:
            self.wait("the expected results", is_same)
        except AssertionError as error:
            raise AssertionError("\n".join([*found, str(error)])) from None

    def scored(self) -> dict[tuple[str, str, str], tuple[str, float | None]]:
        """Return the status and value of every prediction and kind."""
        rows = self.lake().sql("SELECT key, id, kind, status, value FROM scored").fetchall()
        found = {(key, id_, kind): (status, value) for key, id_, kind, status, value in rows}
        assert len(found) == len(rows)
        return found

    def violations(self) -> list[str]:
        """Return the violations of both accounting identities, by the ledger and by counting rows."""
        settings = self.settings
        definitions = {kind: label.definition for kind, label in settings.config.labels.items()}
        return check_conservation(Lake.open(settings.lake), definitions).violations


class ExpectedResults:
    """The outcomes and rejects that a generator expects.

    Args:
        text: the generator's JSON lines.
    """

    def __init__(self, text: str) -> None:
        lines = [json.loads(line) for line in text.splitlines()]
        outcomes = [line["outcome"] for line in lines if "outcome" in line]
        rejects = [line["reject"] for line in lines if "reject" in line]
        self.close_at: str = lines[0]["close_at"]
        self.outcomes = {(o["key"], o["id"], o["kind"]): (o["status"], o["value"]) for o in outcomes}
        self.rejects = {(r["input"], r["reason"]): r["count"] for r in rejects}

    def differences(self, loop: ExampleLoop) -> list[str]:
        """Return the differences between the lake and the expected results."""
        found = loop.scored()
        wrong = [
            f"{key}: expected {self.outcomes.get(key)}, the lake has {found.get(key)}"
            for key in sorted(self.outcomes.keys() | found.keys())
            if self.outcomes.get(key) != found.get(key)
        ]
        rows = loop.lake().sql("SELECT input, reason, count(*) FROM rejects GROUP BY ALL").fetchall()
        rejects = {(name, reason): count for name, reason, count in rows if (name, reason) not in DEPENDS_ON_ORDER}
        if rejects != self.rejects:
            wrong.append(f"rejects: expected {self.rejects}, the lake has {rejects}")
        return wrong[:10] + [f"... {len(wrong)} in all"] * (len(wrong) > 10)


def is_caught_up(status: LoopStatus) -> bool:
    """Return whether every record is read, joined, past its deadline and written."""
    counters = [entry.checkpoint.counters for entry in status.entries.values()]
    pending = sum(outcomes.pending for counter in counters for outcomes in counter.outcomes.values())
    return not (any(status.ingest.values()) or any(status.join.values()) or status.lake_behind or pending)


def generator(name: str) -> ModuleType:
    """Return an example's generator as a module."""
    spec = importlib.util.spec_from_file_location(f"traffic_{name[:2]}", EXAMPLES / name / "traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module
