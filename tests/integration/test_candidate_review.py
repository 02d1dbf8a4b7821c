"""The newest version and the one before it, on real lakes: judged once, on what was known, and told once."""

import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from gate_case import entry, episode, evaluation, finding, ruling_entry
from replay_case import run
from retrain_case import DAY_MS, HOUR_MS, START_MS, make_loop

from lake import Lake
from monitor.evaluation import day_ending_at
from monitor.versions.candidate import judge_candidate
from retrain.decision_log import DecisionLog
from retrain.evaluation_entries import evaluated as entries_of
from retrain.evaluation_entries import restated
from retrain.gate import gate_of
from retrain.log_entries import EntryOrigin
from retrain.run_manifest import run_manifest
from schemas.events.backfill import Verdict
from schemas.events.evidence import Decision, Event, FindingKind, GateState, Level
from truthloop.config.settings import Settings, load_settings
from truthloop.evidence.cells import Evidence, read_evidence
from truthloop.feedback import candidate_review as judging
from truthloop.feedback.candidate_review import CandidateReview
from truthloop.feedback.reconcile import Reconciler

FIRST, SECOND = ("rt-" + digit * 32 for digit in "01")
GOOD, OTHER, RUMOUR = (letter * 64 for letter in "abc")
DAYS, ROWS, BESIDE_FROM = 24, 100, 2
TWO_WEEKS = BESIDE_FROM + 14
"""So many days hold two weeks of both versions."""

KINDS = ("good", "worse", "part", "route", "sparse")
CONFIG_TEXT = """\
version: 1
loop: shop
clock: event
disorder: 0s
partitions: 2
lake: {uri: ./lake}
predictions:
  slices: [country]
  outputs:
    good: {task: binary}
    worse: {task: binary}
    part: {task: binary}
    sparse: {task: binary}
    route: {task: multiclass}
labels:
  good: {definition: g, horizon: 1d, retain: 2d}
  worse: {definition: w, horizon: 1d, retain: 2d}
  part: {definition: p, horizon: 1d, retain: 2d}
  sparse: {definition: s, horizon: 1d, retain: 2d}
  route: {definition: r, horizon: 1d, retain: 2d}
evaluate_at: [6h]
"""

Record = dict[str, Any]


def score(truth: int, *, is_right: bool, sure: float) -> float:
    """Return a probability."""
    return sure if bool(truth) == is_right else round(1 - sure, 6)


def outputs_of(rng: random.Random, truth: int, country: str) -> dict[str, Record]:
    """Return what both versions say: the new one is better, worse, worse in one country, better, better."""
    was_right, falls = rng.random() < 0.8, rng.random() < 0.3
    plain = score(truth, is_right=was_right, sure=0.7)
    surer = score(truth, is_right=was_right, sure=0.8)
    names = ("land", "sea")
    first = {"good": plain, "worse": plain, "part": plain, "sparse": plain, "route": names[truth ^ (not was_right)]}
    second = {
        "good": surer,
        "worse": score(truth, is_right=was_right and not falls, sure=0.7),
        "part": score(truth, is_right=country != "DE" or (was_right and not falls), sure=0.7),
        "sparse": surer,
        "route": names[truth ^ (not was_right and not falls)],
    }
    return {"v1": first, "v2": second}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A loop of five kinds with a version that predicts alongside the deployed one."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "truthloop.yaml").write_text(CONFIG_TEXT)
    settings = load_settings(folder / "truthloop.yaml", {})
    rng = random.Random(5)
    predictions, labels = [], []
    for day in range(DAYS):
        for number in range(ROWS):
            at_ms, key = START_MS + day * DAY_MS + number * (DAY_MS // ROWS), f"{day}-{number}"
            truth, country = int(rng.random() < 0.4), "DE" if number % 4 == 0 else "FR"
            for version, outputs in outputs_of(rng, truth, country).items():
                if version == "v1" or day >= BESIDE_FROM:
                    one = {"key": key, "id": f"{key}/{version}", "time": at_ms, "version": version, "outputs": outputs}
                    predictions.append({**one, "slices": {"country": country}})
            for kind in KINDS:
                if kind == "sparse" and number % 5 > 2:
                    continue
                value = ("land", "sea")[truth] if kind == "route" else truth
                labels.append({"key": key, "kind": kind, "value": value, "time": at_ms + HOUR_MS})
    _replay(settings, predictions, labels, "all")
    return settings


@pytest.fixture(scope="module")
def evidence(shop: Settings) -> Evidence:
    """The cells of all days."""
    return read_evidence(shop)


def _replay(settings: Settings, predictions: list[Record], labels: list[Record], name: str) -> None:
    paths = []
    for what, rows in (("predictions", predictions), ("labels", labels)):
        paths.append(settings.path.parent / f"{what}-{name}.jsonl")
        paths[-1].write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(settings.lake, paths[:1], paths[1:], config=settings.config)


def judging_of(shop: Settings, kind: str) -> CandidateReview:
    """Return one that has judged nothing yet, as another process begins."""
    return CandidateReview(shop, EntryOrigin(shop.config.loop, kind, None))


def evaluated(kind: str, days: int, log: list[Decision], **other: Any) -> list[Decision]:
    """Return the log with the evaluation behind it that judges so many days; one more day has ended."""
    at_ms = START_MS + (days + 1) * DAY_MS
    judged = day_ending_at(at_ms, "UTC") - timedelta(days=1)
    gate = gate_of(log)
    fields: dict[str, Any] = {
        "at": at_ms,
        "loop": "shop",
        "kind": kind,
        "version": "v1",
        "detail": {"judged_day": str(judged)},
        "decision": gate.decision,
    }
    state = gate.state if gate.is_open else GateState.IDLE
    new = entry(len(log), Event.EVALUATED, other.pop("state", state), **fields | other)
    gate.after(new)
    return [*log, new]


def judged_after(shop: Settings, evidence: Evidence, kind: str, days: int) -> Decision | None:
    """Return the verdict on a kind after so many days, of a review that has judged nothing yet."""
    log = evaluated(kind, days, [])
    return judging_of(shop, kind).entry(evidence, log, gate_of(log))


def retrained(kind: str, days: int, *last: Decision, end: bool = True, id_: str = FIRST) -> list[Decision]:
    """Return a log with a retrain that led to `v2`, and what was said of it; another model was refused."""
    about: dict[str, Any] = {"loop": "shop", "kind": kind, "decision": id_, "version": "v2"}
    log = evaluated(kind, 1, [], state=GateState.PREPARING, decision=id_)
    steps: list[tuple[Event, GateState, dict[str, Any]]] = [
        (Event.PREPARED, GateState.REQUESTED, {}),
        (Event.ACCEPTED, GateState.RUNNING, {"model_sha256": RUMOUR}),
        (Event.SUCCEEDED, GateState.RUNNING, {"model_sha256": None}),
        (Event.SUCCEEDED, GateState.RUNNING, {"model_sha256": GOOD}),
        (Event.REFUSED, GateState.RUNNING, {"model_sha256": OTHER}),
    ]
    if end:
        steps.append((Event.RESOLVED, GateState.COOLING, {}))
    for event, state, detail in steps:
        log.append(entry(len(log), event, state, at=log[-1].at, detail=detail, **about))
    return evaluated(kind, days, [*log, *last])


def test_nothing_is_judged_before_two_weeks_of_both(shop: Settings, evidence: Evidence) -> None:
    """Every weekday comes twice; what the lake holds of later days was not known then."""
    for days in (BESIDE_FROM, BESIDE_FROM + 1, TWO_WEEKS - 1):
        assert judged_after(shop, evidence, "worse", days) is None, days
    entry_ = judged_after(shop, evidence, "worse", TWO_WEEKS)
    assert entry_ is not None
    assert (entry_.detail["days"], entry_.detail["labels"]) == (14, 14 * ROWS)


def test_nothing_is_judged_before_a_day_is_old_enough(shop: Settings, evidence: Evidence) -> None:
    """Neither in an empty log."""
    assert judging_of(shop, "good").entry(evidence, [], gate_of([])) is None
    log = evaluated("good", TWO_WEEKS, [], detail={"judged_day": None})
    assert judging_of(shop, "good").entry(evidence, log, gate_of(log)) is None


@pytest.mark.parametrize(
    ("kind", "verdict", "may_ship"),
    [
        ("good", "non_inferior", "yes"),
        ("worse", "inferior", "no"),
        ("part", "non_inferior", "no"),
        ("route", "non_inferior", "yes"),
    ],
)
def test_a_version_is_judged_on_the_labels_that_both_share(
    shop: Settings, evidence: Evidence, kind: str, verdict: str, may_ship: str
) -> None:
    """By the mean loss; and one that is worse in a country may not ship, however good it is on the whole."""
    log = evaluated(kind, TWO_WEEKS, [])
    found = judging_of(shop, kind).entry(evidence, log, gate_of(log))
    assert found is not None
    assert (found.event, found.state, found.version, found.at) == (Event.JUDGED, GateState.IDLE, "v2", log[-1].at)
    detail = found.detail
    assert (detail["verdict"], detail["may_ship"]) == (verdict, may_ship)
    assert (detail["running"], detail["candidate"]) == ("v1", "v2")
    assert found.reason.startswith("v2 compared with v1: ")
    assert isinstance(detail["difference"], float)
    assert (detail["difference"] > 0) == (verdict == "inferior")
    assert (found.decision, detail["decision"], detail["model_sha256"]) == (None, None, None)
    if kind == "part":
        assert "segments lose more" in str(detail["failed"])
        assert "country=DE" in str(detail["failed"])
        assert "; but " in found.reason
    gate_of([*log, found])


def test_what_is_judged_once_is_never_judged_again(shop: Settings, evidence: Evidence) -> None:
    """Not by the same process, nor by one that knows the log alone, nor with more weeks."""
    log = evaluated("good", TWO_WEEKS, [])
    one = judging_of(shop, "good")
    found = one.entry(evidence, log, gate_of(log))
    assert found is not None
    log = [*log, found]
    for days in (TWO_WEEKS, TWO_WEEKS + 7):
        log = evaluated("good", days, log)
        assert one.entry(evidence, log, gate_of(log)) is None
        assert judging_of(shop, "good").entry(evidence, log, gate_of(log)) is None


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were judged, each time that it was done."""
    counts: list[int] = []

    def noted(rows: Any, *words: Any) -> Any:
        counts.append(rows.height)
        return judge_candidate(rows, *words)

    monkeypatch.setattr(judging, "judge_candidate", noted)
    return counts


def test_what_is_undecided_is_asked_again_once_a_week(shop: Settings, evidence: Evidence, judged: list[int]) -> None:
    """Too few labels after two weeks, enough after three; nothing is written of the first look."""
    one, log = judging_of(shop, "sparse"), list[Decision]()
    found: dict[int, Decision | None] = {}
    for days in range(TWO_WEEKS - 1, TWO_WEEKS + 8):
        log = evaluated("sparse", days, log)
        found[days] = one.entry(evidence, log, gate_of(log))
        if found[days] is not None:
            break
    assert judged == [14 * 60, 21 * 60]
    assert [days for days, entry_ in found.items() if entry_ is not None] == [TWO_WEEKS + 7]
    last = found[TWO_WEEKS + 7]
    assert last is not None
    assert (last.detail["verdict"], last.detail["days"]) == ("non_inferior", 21)


def test_the_model_that_is_meant_is_the_one_whose_success_was_told(shop: Settings, evidence: Evidence) -> None:
    """Not what was said of it before, nor another one that was refused; it stands with the retrain that led to it."""
    log = retrained("good", TWO_WEEKS)
    found = judging_of(shop, "good").entry(evidence, log, gate_of(log))
    assert found is not None
    assert (found.decision, found.detail["decision"], found.detail["model_sha256"]) == (FIRST, FIRST, GOOD)
    assert [one["detail"]["verdict"] for one in run_manifest([*log, found], FIRST, [], None)["judged"]] == [
        "non_inferior"
    ]


def test_a_version_is_judged_while_its_own_retrain_is_open(shop: Settings, evidence: Evidence) -> None:
    """It predicts alongside the deployed one, which is how its pipeline knows whether to deploy it."""
    log = retrained("good", TWO_WEEKS, end=False)
    found = judging_of(shop, "good").entry(evidence, log, gate_of(log))
    assert found is not None
    assert (found.decision, found.state, found.detail["model_sha256"]) == (FIRST, GateState.RUNNING, GOOD)
    gate = gate_of([*log, found])
    assert (gate.decision, gate.state) == (FIRST, GateState.RUNNING)


def test_a_version_is_judged_while_another_retrain_is_open(shop: Settings, evidence: Evidence) -> None:
    """It moves nothing of the other, and the manifest of its own has it."""
    log = retrained("good", TWO_WEEKS - 1)
    log = evaluated("good", TWO_WEEKS, log, state=GateState.PREPARING, decision=SECOND)
    found = judging_of(shop, "good").entry(evidence, log, gate_of(log))
    assert found is not None
    assert (found.decision, found.detail["decision"], found.detail["model_sha256"]) == (None, FIRST, GOOD)
    gate = gate_of([*log, found])
    assert (gate.decision, gate.state) == (SECOND, GateState.PREPARING)
    counts = [len(run_manifest([*log, found], id_, [], None)["judged"]) for id_ in (FIRST, SECOND)]
    assert counts == [1, 0]


def test_a_day_that_is_judged_again_does_not_count_a_version_that_breaks_the_contract() -> None:
    """As the day itself did not; a warning holds nobody back, and a first version has none before it."""
    origin = EntryOrigin("flights", "late", None)
    log = entries_of(origin, gate_of([]), evaluation(0, finding(FindingKind.CONTRACT)))
    assert [one.version for one in log] == ["v1"]
    broken = evaluation(1, finding(FindingKind.CONTRACT), version="v2")
    log += entries_of(origin, gate_of(log), broken)
    log.append(ruling_entry(2, Verdict.APPROVED, episode(day=2), log[-1].state, 2))
    again = restated(origin, gate_of(log), broken, [])
    assert [one.version for one in (*log, again)] == ["v1", "v1", None, "v1"]
    warned = evaluation(1, finding(FindingKind.CONTRACT, Level.WARN), version="v2")
    assert [one.event for one in entries_of(origin, gate_of(log), warned)] == [Event.DEPLOYED, Event.EVALUATED]
    assert restated(origin, gate_of(log), warned, []).version == "v2"


Says = Callable[[int, int], dict[str, float | None]]


def write_days(settings: Settings, days: tuple[int, int], says: Says) -> None:
    """Replay whole days of a small loop.

    Args:
        settings: of the loop.
        days: number of the first, and of the day behind the last.
        says: gives the output by version for the number of a row and its truth; None: it is not there.
    """
    predictions: list[Record] = []
    labels: list[Record] = []
    for day in range(*days):
        for number in range(ROWS):
            at_ms, key = START_MS + day * DAY_MS + number * (DAY_MS // ROWS), f"{day}-{number}"
            truth = int(random.Random(f"{day} {number}").random() < 0.4)
            for version, output in says(number, truth).items():
                one = {"key": key, "id": f"{key}/{version}", "time": at_ms, "version": version}
                predictions.append({**one, "outputs": {} if output is None else {"fraud": output}})
            known_ms = min(at_ms + HOUR_MS, START_MS + (day + 1) * DAY_MS - 1)
            labels.append({"key": key, "kind": "fraud", "value": truth, "time": known_ms, "source": "desk"})
        end_ms = START_MS + (day + 1) * DAY_MS
        labels.append({"kind": "fraud", "op": "heartbeat", "time": end_ms, "source": "desk"})
    _replay(settings, predictions, labels, f"{days[0]}-{days[1]}")


def shadowed(number: int, truth: int) -> dict[str, float | None]:
    """Return the outputs of the deployed version, and of the new one for four rows of five."""
    was_right = number % 5 != 2
    said: dict[str, float | None] = {"v1": score(truth, is_right=was_right, sure=0.7)}
    return said | ({"v2": score(truth, is_right=was_right, sure=0.8)} if number % 5 else {})


def alone(version: str, *, is_there: bool = True) -> Says:
    """Return what one version says."""
    return lambda number, truth: {version: score(truth, is_right=number % 5 != 2, sure=0.8) if is_there else None}


def log_of(settings: Settings) -> list[Decision]:
    """Return the gate's log."""
    return DecisionLog(Lake.open(settings.lake), "fraud").entries()


def test_a_loop_that_is_lived_judges_once_and_keeps_its_version_from_one_that_breaks_the_contract(
    tmp_path: Path,
) -> None:
    """Two weeks of both versions, then one without any outputs, which runs and does not count until it has some."""
    settings = make_loop(tmp_path)
    write_days(settings, (0, 15), shadowed)
    turn = Reconciler(settings, lambda: START_MS)
    assert {one.event for one in turn.run().decisions} == {Event.EVALUATED}
    write_days(settings, (15, 16), shadowed)
    *others, found = turn.run().decisions
    assert ([one.event for one in others], found.event) == ([Event.EVALUATED], Event.JUDGED)
    assert (found.detail["verdict"], found.detail["labels"], found.number) == ("non_inferior", 14 * 80, 15)
    assert log_of(settings)[-1] == found
    assert (list(turn.run().decisions), list(Reconciler(settings, lambda: START_MS).run().decisions)) == ([], [])

    write_days(settings, (16, 18), alone("v3", is_there=False))
    result = turn.run()
    assert [one.event for one in result.decisions] == [Event.EVALUATED] * 2
    last = result.evaluations[-1]
    [broken] = [one for one in last.findings if one.kind is FindingKind.CONTRACT]
    assert (last.version, broken.level, broken.value) == ("v3", Level.ALARM, 1.0)
    assert "the model's output is always missing" in broken.text
    assert (log_of(settings)[-1].version, turn.gate("fraud").version) == ("v1", "v1")
    rows = Lake.open(settings.lake).scan("evidence").collect().filter(name="contract")
    assert rows.select("version", "level").rows() == [("v3", "alarm")]

    write_days(settings, (18, 24), alone("v3"))  # the newest 500 predictions are looked at
    following = turn.run().decisions
    deployed = [one for one in following if one.event is Event.DEPLOYED]
    assert [(one.version, one.state) for one in deployed] == [("v3", GateState.COOLING)]
    assert turn.gate("fraud").version == "v3"
    assert [one.event for one in log_of(settings)].count(Event.JUDGED) == 1
