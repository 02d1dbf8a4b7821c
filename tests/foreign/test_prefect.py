"""The Prefect target against a real Prefect, which serves the example flow."""

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


class Prefect:
    """A real Prefect with the example flow, served by a process of its own.

    Args:
        home: of everything that it keeps.
    """

    def __init__(self, home: Path) -> None:
        programs = environment("prefect")
        for file in ("prefect/flow.py", "dataset_check.py"):
            shutil.copy(EXAMPLES / file, home)
        [port] = free_ports(1)
        self.place = f"127.0.0.1:{port}"
        self.url = f"http://{self.place}/api"
        environ = {
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin",
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_RUNNER_POLL_FREQUENCY": "1",
            "RETRAIN_COMMAND": shlex.join([sys.executable, "-c", TRAIN]),
        }
        server = [str(programs / "prefect"), "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
        self.server = ServerProcess(server, environ, home / "server.log")
        self.flow = ServerProcess([str(programs / "python"), str(home / "flow.py")], environ, home / "flow.log")

    def start(self) -> None:
        """Start the server and then the flow, and wait for both."""
        self.server.start()
        waited("the server", lambda: call("GET", f"{self.url}/health"), self.server.fault)
        self.flow.start()
        waited("the deployment", self.deployment, self.flow.fault)

    def stop(self) -> None:
        """End both."""
        self.flow.stop()
        self.server.stop()

    def deployment(self) -> Any:
        """Return the deployment's document."""
        return call("GET", f"{self.url}/deployments/name/retrain/prod")

    def runs(self, decision: str) -> list[Any]:
        """Return the flow runs of a decision, whatever their keys are."""
        found = call("POST", f"{self.url}/flow_runs/filter", {"limit": 200})
        return [run for run in found if run["parameters"]["request"]["id"] == decision]


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """Run one for all tests."""
    server = Prefect(tmp_path_factory.mktemp("prefect"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def asked(prefect: Prefect, folder: Path, number: int, **target: Any) -> OpenRetrain:
    """Return an open retrain that this Prefect is to be asked for."""
    config = {"kind": "prefect", "url": prefect.url, "allow": [prefect.place], "deployment": "retrain/prod"}
    return OpenRetrain(folder / "loop", config | target, {}, write_dataset(folder / "set"), f"rt-{number:032x}")


@pytest.mark.short
def test_a_request_starts_one_run_that_trains_once_and_is_heard_of(prefect: Prefect, tmp_path: Path) -> None:
    """The example flow checks the data set and trains; its success is polled and written down."""
    retrain = asked(prefect, tmp_path, 1)
    assert taken(retrain).reason.startswith("the request was delivered at attempt ")
    done = ended(retrain, prefect.flow.fault)
    assert (done.event, done.state, done.source) == (Event.SUCCEEDED, GateState.COOLING, "pipeline")
    assert (tmp_path / "set" / "model").read_text() == "trained\n"
    assert len(prefect.runs(done.decision or "")) == 1


@pytest.mark.short
def test_the_same_request_again_starts_nothing(prefect: Prefect, tmp_path: Path) -> None:
    """As after a crash between the run's start and its record; by its id, the deployment is found, too."""
    retrain = asked(prefect, tmp_path, 2, deployment=prefect.deployment()["id"])
    [(decision, outgoing)] = retrain.deliveries._requests().items()
    first = sent(retrain, decision, outgoing.body)
    assert (first.outcome, first.status, first.detail) == ("delivered", 201, "")
    assert taken(retrain).reason.endswith(": the run was there already")
    assert retrain.attempts()[-1].status == 200
    assert ended(retrain, prefect.flow.fault).event is Event.SUCCEEDED
    assert len(prefect.runs(decision)) == 1
    assert (tmp_path / "set" / "model").read_text() == "trained\n"


def test_a_data_set_that_was_changed_fails_the_run_before_training(prefect: Prefect, tmp_path: Path) -> None:
    """And the failed run becomes an entry."""
    retrain = asked(prefect, tmp_path, 3)
    (tmp_path / "set" / "train.parquet").write_bytes(b"other rows")
    taken(retrain)
    done = ended(retrain, prefect.flow.fault)
    assert (done.event, done.state) == (Event.FAILED, GateState.COOLING)
    assert "Prefect calls the flow run FAILED" in done.reason
    assert not (tmp_path / "set" / "model").exists()


@pytest.mark.parametrize("deployment", ["retrain/none", "none/prod", "00000000-0000-4000-8000-000000000000"])
def test_a_deployment_that_does_not_exist_ends_the_retrain_and_is_named(
    prefect: Prefect, tmp_path: Path, deployment: str
) -> None:
    """By its name and by its id."""
    retrain = asked(prefect, tmp_path, 4, deployment=deployment)
    [entry] = answered(retrain)
    assert (entry.event, entry.state) == (Event.UNDELIVERABLE, GateState.COOLING)
    assert f"there is no deployment {deployment} (404)" in entry.reason


def test_a_flow_with_other_parameters_is_told_of(prefect: Prefect, tmp_path: Path) -> None:
    """Prefect answers 409 to that, and it is no repeat."""
    known = prefect.deployment()
    schema = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    other = {"name": "other", "flow_id": known["flow_id"], "parameter_openapi_schema": schema}
    assert call("POST", f"{prefect.url}/deployments/", other | {"enforce_parameter_schema": True})
    retrain = asked(prefect, tmp_path, 5, deployment="retrain/other")
    assert answered(retrain) == []
    attempt = retrain.attempts()[-1]
    assert (attempt.outcome, attempt.status) == ("retry", 409)
    assert "does not take the parameter `request`" in attempt.detail


def test_a_server_that_is_slow_and_then_down_gets_the_run_once_it_is_back(prefect: Prefect, tmp_path: Path) -> None:
    """Three attempts, one run."""
    retrain = asked(prefect, tmp_path, 6)
    assert retrain.receiver is not None
    whole = retrain.receiver
    hasty = Receiver(whole.url, whole.secret, whole.allow, timeout_s=2, server=whole.server)
    prefect.server.hold()
    try:
        retrain.deliveries._receiver = hasty
        assert retrain.step() == []
        assert "did not end within 2 s" in retrain.attempts()[0].detail
    finally:
        prefect.server.let_go_on()
    prefect.stop()
    retrain.deliveries._receiver = whole
    assert retrain.step(10_000) == []
    assert "failed: Client" in retrain.attempts()[1].detail  # nobody listens, or who did is just ending
    prefect.start()
    retrain.now_ms += HOUR_MS
    delivered = taken(retrain)
    assert len(retrain.attempts()) >= 3
    assert ended(retrain, prefect.flow.fault).event is Event.SUCCEEDED
    assert len(prefect.runs(delivered.decision or "")) == 1
