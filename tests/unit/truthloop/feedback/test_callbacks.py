"""Callbacks of a pipeline: logged once if they are signed and in order, and rejected without a trace otherwise."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gate_case import ID, START_MS, entry
from lake_builder import LakeBuilder

from lake import Lake
from lake.table import TABLES
from retrain.decision_log import DecisionLog
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin
from retrain.signing import Secret, sign
from schemas.config.retrain import RetrainConfig
from schemas.events.evidence import Decision, Event, GateState
from truthloop.feedback import callbacks
from truthloop.feedback.callbacks import CallbackHandler

SECRET = Secret.parse("whsec_" + "c2VjcmV0" * 5)
OTHER = Secret.parse("whsec_" + "b3RoZXI0" * 5)
NOW_MS = 1_700_000_000_000
NOW_S = NOW_MS // 1_000
RETRAIN = RetrainConfig.model_validate({"target": {"url": "https://pipeline.example/x", "completion": "callback"}})
ANOTHER_ID = "rt-" + "1" * 32

DECIDED = entry(0, Event.EVALUATED, GateState.PREPARING, decision=ID, version="v1")
REQUESTED = [DECIDED, entry(1, Event.PREPARED, GateState.REQUESTED, decision=ID)]
RUNNING = [*REQUESTED, entry(2, Event.DELIVERED, GateState.RUNNING, decision=ID)]
ENDED = [*RUNNING, entry(3, Event.RESOLVED, GateState.COOLING, decision=ID)]


class Desk:
    """A lake with the logs of two kinds, and the handler of its callbacks."""

    def __init__(self, folder: Path, log: list[Decision], secret: Secret | None = SECRET) -> None:
        LakeBuilder(folder)
        self.lake = Lake.open(folder)
        self.refusals: list[str] = []
        assert DecisionLog(self.lake, "late").append(log, NOW_MS)
        origins = [EntryOrigin("flights", kind, RETRAIN) for kind in ("fare", "late")]
        self.callbacks = CallbackHandler(self.lake, origins, secret, lambda: NOW_MS, self.refusals.append)

    def take(self, body: bytes, id_: str = "c1", secret: Secret = SECRET, **headers: str) -> tuple[int, Any]:
        """Send a signed body, with some of the right headers replaced."""
        good = sign(secret, id_, NOW_S, body) if _is_text(body) else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.callbacks.handle(body, {"host": "loop", **good, **named})

    def versions(self) -> dict[str, int]:
        """Return the newest commit of every table."""
        return {table: self.lake.version(table) for table in TABLES}

    def log(self) -> list[Decision]:
        """Return the log."""
        return DecisionLog(self.lake, "late").entries()


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def body_of(status: str = "succeeded", decision: str = ID, **other: Any) -> bytes:
    """Return a callback's body."""
    return json.dumps({"decision": decision, "status": status, **other}).encode()


Make = Callable[..., Desk]


@pytest.fixture
def desk(tmp_path: Path) -> Make:
    """Make a desk with a log."""
    return lambda log, **other: Desk(tmp_path / "lake", log, **other)


def refused_without_a_trace(desk: Desk, answer: tuple[int, Any], before: dict[str, int]) -> str:
    """Return the reason of a refusal after checking that nothing has changed."""
    assert desk.versions() == before
    assert set(answer[1]) == {"status", "reason"}
    assert answer[1]["status"] == "refused"
    assert len(desk.refusals) == 1
    return str(answer[1]["reason"])


@pytest.mark.parametrize(
    ("status", "state"),
    [("accepted", "running"), ("running", "running"), ("succeeded", "cooling"), ("failed", "cooling")],
)
def test_a_callback_moves_the_gate_and_is_logged(desk: Make, status: str, state: str) -> None:
    """With the pipeline's message, metrics and version."""
    one = desk(RUNNING)
    given = body_of(status, version="v2", metrics={"roc_auc": 0.9}, message="Done.", model_sha256="0" * 64)
    assert one.take(given) == (200, {"status": "taken", "decision": ID, "state": state})
    last = one.log()[-1]
    assert (last.state.value, last.source, last.version) == (state, "pipeline", "v2")
    assert last.detail["callback_id"] == "c1"
    assert last.detail["metric:roc_auc"] == 0.9
    assert one.refusals == []


def test_a_fast_pipeline_may_answer_before_the_delivery_is_logged(desk: Make) -> None:
    """The gate waits for both."""
    one = desk(REQUESTED)
    assert one.take(body_of("accepted"))[0] == 200
    assert gate_of(one.log()).state is GateState.RUNNING


@pytest.mark.parametrize(
    "headers",
    [
        {"webhook_signature": "v1,*"},
        {"webhook_signature": "nonsense"},
        {"webhook_signature": ""},
        {"webhook_signature": "v1,\udcff"},
        {"webhook_timestamp": "yesterday"},
        {"webhook_timestamp": str(NOW_S - 301)},
        {"webhook_timestamp": str(NOW_S + 301)},
        {"webhook_id": "c2"},
        {"webhook_id": "\n"},
    ],
)
def test_an_invalid_signature_is_401(desk: Make, headers: dict[str, str]) -> None:
    """Malformed, old, or of another message: the response is the same."""
    one = desk(RUNNING)
    before = one.versions()
    answer = one.take(body_of(), **headers)
    assert answer[0] == 401
    assert refused_without_a_trace(one, answer, before) == "the signature is invalid"
    assert one.refusals == ["signature"]


def test_missing_headers_or_the_wrong_secret_are_401(desk: Make) -> None:
    """Also if the body cannot be read: the signature is checked first."""
    one = desk(RUNNING)
    before = one.versions()
    assert one.callbacks.handle(body_of(), {})[0] == 401
    assert one.take(body_of(), secret=OTHER)[0] == 401
    assert one.take(b"{", secret=OTHER)[0] == 401
    assert one.take(b"\xff")[0] == 401
    assert one.callbacks.handle(body_of("failed"), sign(SECRET, "c1", NOW_S, body_of()))[0] == 401
    assert (one.versions(), one.refusals) == (before, ["signature"] * 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"null",
        body_of("done"),
        body_of(decision="rt-1"),
        body_of(extra=1),
        body_of(version=""),
        body_of(version="v\0"),
        body_of(metrics={"a": "b"}),
        body_of(metrics={str(number): 1.0 for number in range(65)}),
        body_of(message="x" * 1_001),
        body_of(message="x" * 5_000_000),
        b'{"decision": "' + ID.encode() + b'", "status": "failed", "metrics": {"a": 1e999}}',
        b'{"decision": "' + ID.encode() + b'", "status": "failed", "message": "\\ud800"}',
        b"[" * 100_000,
        b'{"decision": null, "status": 1, "version": {"\xc3\xa4": []}}',
    ],
    ids=lambda body: f"{len(body)} bytes",
)
def test_a_signed_but_invalid_body_is_422(desk: Make, body: bytes) -> None:
    """With the field of the first error, and no values of what was sent."""
    one = desk(RUNNING)
    before = one.versions()
    answer = one.take(body)
    assert answer[0] == 422
    assert len(refused_without_a_trace(one, answer, before)) < 1_000
    assert one.refusals == ["invalid"]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (body_of()[:-1] + b', "status": "failed"}', "status"),
        (body_of()[:-1] + b', "\\u0073tatus": "failed"}', "status"),
        (body_of()[:-1] + b', "metrics": {"a": 1, "a": 2}}', "a"),
        (b'{"' + b"x" * 30_000 + b'": 1, "' + b"x" * 30_000 + b'": 1}', "x"),
    ],
    ids=["same", "escaped", "nested", "long"],
)
def test_a_name_that_is_given_twice_is_refused(desk: Make, body: bytes, name: str) -> None:
    """A proxy and this loop could each read another value, and both would call it signed."""
    one = desk(RUNNING)
    before = one.versions()
    answer = one.take(body)
    assert answer[0] == 422
    reason = refused_without_a_trace(one, answer, before)
    assert reason.startswith(name)
    assert reason.endswith(" is given twice")
    assert len(reason) < 1_000
    assert one.refusals == ["invalid"]


def test_an_unknown_decision_is_404(desk: Make) -> None:
    """Nothing is logged."""
    one = desk(RUNNING)
    before = one.versions()
    answer = one.take(body_of(decision=ANOTHER_ID))
    assert answer[0] == 404
    assert refused_without_a_trace(one, answer, before) == "no such decision"


def test_a_loop_without_requests_takes_no_callbacks(desk: Make) -> None:
    """It has no secret to check a signature with."""
    one = desk(RUNNING, secret=None)
    before = one.versions()
    answer = one.take(body_of())
    assert answer[0] == 404
    assert refused_without_a_trace(one, answer, before) == "this loop sends no requests"


@pytest.mark.parametrize("status", ["accepted", "failed"])
def test_a_repeated_callback_changes_nothing(desk: Make, status: str) -> None:
    """It is recognized by its id, also if it has ended the retrain, or has another status the second time."""
    one = desk(RUNNING)
    assert one.take(body_of(status))[1]["status"] == "taken"
    before, log = one.versions(), one.log()
    for again in (body_of(status), body_of("succeeded")):
        assert one.take(again) == (200, {"status": "known", "decision": ID})
    assert (one.versions(), one.log(), one.refusals) == (before, log, [])


@pytest.mark.parametrize("status", ["accepted", "running", "succeeded", "failed"])
def test_a_callback_out_of_order_is_409(desk: Make, status: str) -> None:
    """No request was sent yet, so there can be no answer."""
    one = desk([DECIDED])
    before = one.versions()
    answer = one.take(body_of(status))
    assert answer[0] == 409
    assert "preparing" in refused_without_a_trace(one, answer, before)
    assert one.refusals == ["out_of_order"]


def test_a_callback_of_an_ended_retrain_is_409(desk: Make) -> None:
    """Also while the next one is open."""
    follower = entry(4, Event.EVALUATED, GateState.PREPARING, 9, decision=ANOTHER_ID)
    one = desk([*ENDED, follower])
    before = one.versions()
    answer = one.take(body_of("succeeded"))
    assert answer[0] == 409
    assert refused_without_a_trace(one, answer, before) == "this retrain has ended"
    assert one.refusals == ["closed"]


def test_a_log_that_grows_meanwhile_is_read_again(desk: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """If another process writes first, the callback is handled again; after too many times it is rejected."""
    one = desk(RUNNING)
    real = DecisionLog.append
    others: list[int] = []

    def slower(log: DecisionLog, entries: list[Decision], recorded_at_ms: int) -> bool:
        if len(others) < limit:
            number = entries[0].number
            others.append(number)
            other = entry(number, Event.EVALUATED, GateState.RUNNING, number, decision=ID, at=START_MS + number)
            assert real(log, [other], recorded_at_ms)
        return real(log, entries, recorded_at_ms)

    monkeypatch.setattr(DecisionLog, "append", slower)
    monkeypatch.setattr(callbacks, "ATTEMPTS_MAX", 9)
    limit = 2
    assert one.take(body_of("running"))[1]["status"] == "taken"
    assert [logged.number for logged in one.log()] == list(range(6))
    limit = 100
    status, response = one.take(body_of("failed"), "c2")
    assert (status, response["reason"], one.refusals) == (
        503,
        "other processes are writing to the log; send it again",
        ["busy"],
    )
    assert gate_of(one.log()).state is GateState.RUNNING


GOOD, OTHER_MODEL = "a" * 64, "b" * 64
FIRST = RetrainConfig.model_validate({"target": {"url": "https://pipeline.example/x"}})
JUDGED = entry(
    3,
    Event.SUCCEEDED,
    GateState.RUNNING,
    decision=ID,
    version="v2",
    detail={"callback_id": "c0", "model_sha256": GOOD},
    source="pipeline",
)


@pytest.mark.parametrize("status", ["succeeded", "running", "failed", "deployed"])
@pytest.mark.parametrize(
    "log", [[*RUNNING, JUDGED], [*RUNNING, JUDGED, entry(4, Event.RESOLVED, GateState.COOLING, decision=ID)]]
)
def test_a_model_other_than_the_judged_one_is_refused_and_logged(desk: Make, status: str, log: list[Decision]) -> None:
    """The gate does not move, also after the retrain has ended; the judged model stays the same."""
    one = desk(log)
    before = gate_of(one.log())
    answer = one.take(body_of(status, version="v2", model_sha256=OTHER_MODEL))
    assert answer == (
        409,
        {"status": "refused", "reason": f"{status} names another model_sha256 than the one that was judged"},
    )
    assert one.refusals == ["another_model"]
    *old, refusal = one.log()
    assert old == log
    assert (refusal.event, refusal.state, refusal.source, refusal.at) == (
        Event.REFUSED,
        log[-1].state,
        "pipeline",
        log[-1].at,
    )
    detail = refusal.detail
    assert (detail["model_sha256"], detail["decision"], detail["callback_id"]) == (OTHER_MODEL, ID, "c1")
    after = gate_of(one.log())
    assert (after.state, after.decision, after.ended_ms, after.failures, after.version) == (
        *(before.state, before.decision, before.ended_ms, before.failures, before.version),
    )


def test_a_repeated_refusal_is_logged_once(desk: Make) -> None:
    """With the same callback id or another one; a third model is another entry."""
    one = desk([*RUNNING, JUDGED])
    wrong = body_of(model_sha256=OTHER_MODEL)
    assert [one.take(wrong, id_)[0] for id_ in ("c1", "c1", "c2")] == [409, 409, 409]
    assert [logged.event for logged in one.log()[4:]] == [Event.REFUSED]
    assert one.take(body_of(model_sha256="c" * 64), "c3")[0] == 409
    assert len(one.log()) == 6
    assert one.refusals == ["another_model"] * 4


def test_a_refusal_while_the_next_retrain_is_open_does_not_touch_it(desk: Make) -> None:
    """It belongs to the retrain that has ended."""
    ended = [*RUNNING, JUDGED, entry(4, Event.RESOLVED, GateState.COOLING, decision=ID)]
    one = desk([*ended, entry(5, Event.EVALUATED, GateState.PREPARING, 9, decision=ANOTHER_ID)])
    assert one.take(body_of("deployed", version="v2", model_sha256=OTHER_MODEL))[0] == 409
    last = one.log()[-1]
    assert (last.event, last.decision, last.detail["decision"]) == (Event.REFUSED, None, ID)
    assert (gate_of(one.log()).decision, gate_of(one.log()).state) == (ANOTHER_ID, GateState.PREPARING)


def test_the_first_success_with_a_digest_fixes_the_model(desk: Make) -> None:
    """Digests in earlier callbacks do not count, nor does a success without a digest."""
    one = desk(RUNNING)
    one.callbacks = CallbackHandler(
        one.lake, [EntryOrigin("flights", "late", FIRST)], SECRET, lambda: NOW_MS, one.refusals.append
    )
    callbacks = [
        ("running", OTHER_MODEL),
        ("succeeded", None),
        ("succeeded", GOOD),
        ("succeeded", GOOD),
        ("succeeded", None),
    ]
    for number, (status, digest) in enumerate(callbacks):
        assert one.take(body_of(status, model_sha256=digest), f"c{number}")[0] == 200
    assert one.take(body_of("succeeded", model_sha256=OTHER_MODEL), "c9")[0] == 409
    assert gate_of(one.log()).state is GateState.RUNNING


@pytest.mark.parametrize("is_open", [True, False])
def test_a_judged_model_may_be_reported_as_deployed(desk: Make, is_open: bool) -> None:
    """It is logged and moves no gate: a version is deployed once its predictions come in."""
    end = [] if is_open else [entry(4, Event.RESOLVED, GateState.COOLING, decision=ID)]
    one = desk([*RUNNING, JUDGED, *end])
    before = gate_of(one.log())
    given = body_of("deployed", version="v2", model_sha256=GOOD, message="On all hosts.")
    assert one.take(given) == (200, {"status": "taken", "decision": ID, "state": before.state.value})
    assert one.take(given) == (200, {"status": "known", "decision": ID})
    last = one.log()[-1]
    assert (last.event, last.version, last.reason) == (
        Event.JUDGED,
        "v2",
        "the pipeline says: v2 is deployed, as it was judged. On all hosts.",
    )
    after = gate_of(one.log())
    assert (after.state, after.decision, after.ended_ms) == (before.state, before.decision, before.ended_ms)


@pytest.mark.parametrize(
    ("log", "other", "reason"),
    [
        (RUNNING, {}, "no model of this retrain was judged yet"),
        ([*RUNNING, JUDGED], {"version": "v3"}, "deployed names another version than 'v2', which was judged"),
    ],
)
def test_a_deployment_of_anything_but_the_judged_model_is_409(
    desk: Make, log: list[Decision], other: dict[str, str], reason: str
) -> None:
    """Before a model was judged, or with another version."""
    one = desk(log)
    given = {"version": "v2", "model_sha256": GOOD} | other
    assert one.take(body_of("deployed", **given)) == (409, {"status": "refused", "reason": reason})
    assert one.log()[-1].event is Event.REFUSED


@pytest.mark.parametrize("missing", [{"version": "v2"}, {"model_sha256": GOOD}, {}])
def test_a_deployment_must_name_version_and_digest(desk: Make, missing: dict[str, str]) -> None:
    """Both are required."""
    one = desk([*RUNNING, JUDGED])
    before = one.versions()
    answer = one.take(body_of("deployed", **missing))
    assert answer[0] == 422
    assert "what was judged is what ships" in refused_without_a_trace(one, answer, before)
