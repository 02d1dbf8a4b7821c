"""The Airflow target against a real Airflow, which runs the example DAG."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from foreign_server import (
    HOUR_MS,
    TRAIN,
    ServerProcess,
    answered,
    call,
    ended,
    environment,
    sent,
    taken,
    waited,
    write_dataset,
)
from target_case import OpenRetrain

from retrain.sender import Receiver
from schemas.events.evidence import Event, GateState
from truthloop.broker.node import free_ports

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = pytest.mark.timeout(1_200, method="signal")  # so that what was started is ended also then


class Airflow:
    """A real Airflow with the example DAG, unpaused.

    Args:
        home: of everything that it keeps.
    """

    def __init__(self, home: Path) -> None:
        programs = environment("airflow")
        (home / "dags").mkdir()
        for file in ("airflow/dag.py", "dataset_check.py"):
            shutil.copy(EXAMPLES / file, home / "dags")
        self._home = home
        port, *log_ports = free_ports(3)
        self.place = f"127.0.0.1:{port}"
        self.url = f"http://{self.place}"
        environ = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__CORE__PARALLELISM": "2",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(log_ports[0]),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(log_ports[1]),
            "RETRAIN_COMMAND": shlex.join([sys.executable, "-c", TRAIN]),
        }
        self.process = ServerProcess([str(programs / "airflow"), "standalone"], environ, home / "log")

    def start(self) -> None:
        """Start it, and wait until it knows the DAG and serves tasks, which it readies only when it is first asked."""
        self.process.start()
        passwords = self._home / "simple_auth_manager_passwords.json.generated"
        waited("a password", lambda: passwords.exists() or None, self.process.fault)
        self.password = json.loads(passwords.read_text())["admin"]
        waited("the DAG", lambda: self.ask("GET", "/dags/retrain"), self.process.fault)
        waited("the tasks' API", lambda: call("GET", f"{self.url}/execution/health"), self.process.fault)

    def ask(self, method: str, path: str, document: object = None) -> Any:
        """Return what it answers to its admin."""
        login = {"username": "admin", "password": self.password}
        token = (call("POST", f"{self.url}/auth/token", login) or {}).get("access_token", "")
        return call(method, f"{self.url}/api/v2{path}", document, token)

    def pause(self, *, is_paused: bool) -> None:
        """Pause the DAG, or let it run."""
        assert self.ask("PATCH", "/dags/retrain?update_mask=is_paused", {"is_paused": is_paused})

    def runs(self, decision: str) -> list[Any]:
        """Return the runs of a decision, whatever they are called."""
        found = self.ask("GET", "/dags/retrain/dagRuns?limit=100")["dag_runs"]
        return [run for run in found if run["conf"]["id"] == decision]


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """Run one for all tests."""
    server = Airflow(tmp_path_factory.mktemp("airflow"))
    try:
        server.start()
        server.pause(is_paused=False)
        yield server
    finally:
        server.process.stop()


def asked(airflow: Airflow, folder: Path, number: int, password: str = "", **target: Any) -> OpenRetrain:
    """Return an open retrain that this Airflow is to be asked for."""
    config = {"kind": "airflow", "url": airflow.url, "allow": [airflow.place], "dag_id": "retrain", "user": "admin"}
    environ = {"TRUTHLOOP_AIRFLOW_PASSWORD": password or airflow.password}
    written = write_dataset(folder / "set")
    return OpenRetrain(folder / "loop", config | target, environ, written, f"rt-{number:032x}")


@pytest.mark.short
def test_a_request_starts_one_run_that_trains_once_and_is_heard_of(airflow: Airflow, tmp_path: Path) -> None:
    """The example DAG checks the data set and trains; its success is polled and written down."""
    retrain = asked(airflow, tmp_path, 1)
    assert taken(retrain).reason.startswith("the request was delivered at attempt ")
    done = ended(retrain, airflow.process.fault)
    assert (done.event, done.state, done.source) == (Event.SUCCEEDED, GateState.COOLING, "pipeline")
    assert "Airflow calls the DAG run success" in done.reason
    assert (tmp_path / "set" / "model").read_text() == "trained\n"
    events = [entry.event for entry in retrain.entries()]
    assert events[:3] == [Event.EVALUATED, Event.PREPARED, Event.DELIVERED]
    assert events.count(Event.SUCCEEDED) == 1
    assert len(airflow.runs(done.decision or "")) == 1


@pytest.mark.short
def test_the_same_request_again_is_answered_409_and_starts_nothing(airflow: Airflow, tmp_path: Path) -> None:
    """As after a crash between the run's start and its record."""
    retrain = asked(airflow, tmp_path, 2)
    [(decision, outgoing)] = retrain.deliveries._requests().items()
    first = sent(retrain, decision, outgoing.body)
    assert (first.outcome, first.status, first.detail) == ("delivered", 200, "")
    assert taken(retrain).reason.endswith(": the run was there already")
    assert retrain.attempts()[-1].status == 409
    assert ended(retrain, airflow.process.fault).event is Event.SUCCEEDED
    assert len(airflow.runs(decision)) == 1
    assert (tmp_path / "set" / "model").read_text() == "trained\n"


def test_a_data_set_that_was_changed_fails_the_run_before_training(airflow: Airflow, tmp_path: Path) -> None:
    """And the failed run becomes an entry."""
    retrain = asked(airflow, tmp_path, 3)
    (tmp_path / "set" / "train.parquet").write_bytes(b"other rows")
    taken(retrain)
    done = ended(retrain, airflow.process.fault)
    assert (done.event, done.state) == (Event.FAILED, GateState.COOLING)
    assert "Airflow calls the DAG run failed" in done.reason
    assert not (tmp_path / "set" / "model").exists()


def test_a_paused_dag_keeps_the_run_and_the_log_says_so(airflow: Airflow, tmp_path: Path) -> None:
    """Unpaused, it runs as if nothing had been."""
    airflow.pause(is_paused=True)
    retrain = asked(airflow, tmp_path, 4)
    try:
        assert "the DAG is paused: its run stays queued" in taken(retrain).reason
    finally:
        airflow.pause(is_paused=False)
    assert ended(retrain, airflow.process.fault).event is Event.SUCCEEDED


@pytest.mark.parametrize(
    ("target", "password", "outcome", "words"),
    [
        ({"dag_id": "no_such_dag"}, "", "gone", "there is no DAG no_such_dag (404)"),
        ({}, "wrong", "retry", "no token: the credentials are not accepted (401)"),
    ],
)
def test_what_cannot_run_is_named(
    airflow: Airflow, tmp_path: Path, target: dict[str, str], password: str, outcome: str, words: str
) -> None:
    """A DAG that does not exist ends the retrain; a password may be put right."""
    retrain = asked(airflow, tmp_path, 5, password, **target)
    entries = answered(retrain)
    attempt = retrain.attempts()[-1]
    assert attempt.outcome == outcome
    assert words in attempt.detail
    assert [entry.event for entry in entries] == ([Event.UNDELIVERABLE] if outcome == "gone" else [])


def test_a_token_that_is_wrong_is_asked_for_again(airflow: Airflow, tmp_path: Path) -> None:
    """Airflow answers 403 to what is no token of its own."""
    config = {"kind": "airflow", "url": airflow.url, "allow": [airflow.place], "dag_id": "retrain", "token_env": "T"}
    retrain = OpenRetrain(tmp_path / "token", config, {"T": "a.b.c"})
    assert answered(retrain) == []
    attempt = retrain.attempts()[-1]
    assert (attempt.outcome, attempt.status) == ("retry", 403)
    assert "credentials do not allow it, or are not accepted" in attempt.detail


def test_a_server_that_is_slow_and_then_down_gets_the_run_once_it_is_back(airflow: Airflow, tmp_path: Path) -> None:
    """Three attempts, one run."""
    retrain = asked(airflow, tmp_path, 7)
    assert retrain.receiver is not None
    whole = retrain.receiver
    hasty = Receiver(whole.url, whole.secret, whole.allow, timeout_s=2, server=whole.server)
    airflow.process.hold()
    try:
        retrain.deliveries._receiver = hasty
        assert retrain.step() == []
        assert "did not end within 2 s" in retrain.attempts()[0].detail
    finally:
        airflow.process.let_go_on()
    airflow.process.stop()
    retrain.deliveries._receiver = whole
    assert retrain.step(10_000) == []
    assert "failed: Client" in retrain.attempts()[1].detail  # nobody listens, or who did is just ending
    airflow.start()
    retrain.now_ms += HOUR_MS
    delivered = taken(retrain)
    assert len(retrain.attempts()) >= 3
    assert ended(retrain, airflow.process.fault).event is Event.SUCCEEDED
    assert len(airflow.runs(delivered.decision or "")) == 1
