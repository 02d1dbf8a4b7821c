"""Views for tests: a loop of flights with something in every panel, a new loop, and one with hostile names."""

from dataclasses import replace
from datetime import date, timedelta

from truthloop.page.panels.backfill import BackfillPanel, BackfillRow
from truthloop.page.panels.gate import CommandHint, GateCondition, GateEvaluation, GatePanel, GateRetrain
from truthloop.page.panels.model import (
    CoverageCell,
    CoverageCohort,
    CoveragePanel,
    DriftCell,
    DriftLane,
    DriftPanel,
    DriftState,
    FlowPanel,
    MaturityCurve,
    MaturityPanel,
    MetricPanel,
    MetricPoint,
    MetricSeries,
    NowcastSeries,
    QualityCount,
    QualityPanel,
    RejectCount,
    RoleFlow,
    SourceState,
    VersionComparison,
    VersionsPanel,
)
from truthloop.page.panels.view import EVERY, Choices, Freshness, LoopSummary, PageVerdict, PageView, Selection

__all__ = ["HOSTILE", "NOW_MS", "empty_view", "hostile_view", "rich_view"]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 1_373_328_000_000
"""20:00 on 8 July 2013 in New York."""

TODAY = date(2013, 7, 8)
EPISODE = f"bf-{7:032x}"
AGES_MS = tuple(hours * HOUR_MS for hours in (3, 4, 5, 6, 8, 10, 12, 24))
USUAL = (0.14, 0.46, 0.63, 0.74, 0.915, 0.968, 0.9861, 0.991)
FEATURES = ("origin_delay_min", "origin_departures", "temp_f", "visibility_mi", "wind_mph", "carrier", "dest", "hour")

HOSTILE = (
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "'; DROP TABLE outcomes; --",
    '=HYPERLINK("http://example.invalid","x")',
    "model\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe",
    "\N{AIRPLANE}\N{VARIATION SELECTOR-16} flights \N{FIRE} \N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}",
    "{{ 7 * 7 }}{% raw %}",
    "a\x00b\x1b[31mc\r\nSet-Cookie: x=1",
    "n" * 10_000,
    "wide " * 40,
    "</svg></title></style><style>*{display:none}</style>",
)
"""Names that data may have and that a page must show safely."""


def days_before(number: int) -> list[str]:
    """Return so many days up to today, oldest first."""
    return [str(TODAY - timedelta(days=number - 1 - index)) for index in range(number)]


def coverage_of(days: int = 30, ages_ms: tuple[int, ...] = AGES_MS) -> CoveragePanel:
    """Return cohorts, of which the newest is young and one has few labels."""
    cohorts = []
    for number, day in enumerate(days_before(days)):
        back = days - 1 - number
        kept = 0.62 if back == 4 else 1.0 - 0.002 * (number % 5)
        cells = []
        for index, age_ms in enumerate(ages_ms):
            usual = USUAL[min(index, len(USUAL) - 1)]
            due = back > 0 or age_ms <= 4 * HOUR_MS
            share = min(usual * kept, 1.0) if due else None
            is_late = share is not None and kept < 0.9
            cells.append(CoverageCell(share, due, usual, is_late and age_ms >= 12 * HOUR_MS, is_late and index > 3))
        version = "flights-v2" if back < 6 else "flights-v1"
        cohorts.append(CoverageCohort(day, version, 840 + number % 7 * 13, 0.95 * kept, back > 1, tuple(cells)))
    return CoveragePanel(
        ages_ms,
        tuple(cohorts),
        ((12 * HOUR_MS, 0.9),),
        "SELECT \"day\", version, age_ms, predictions, coverage, due\nFROM coverage\nWHERE kind = 'arrived_late'",
    )


def metric_of(days: int = 30) -> MetricPanel:
    """Return two versions: one whose days are final, and one whose newest days are not."""
    all_days = days_before(days)
    first, second = [], []
    for number, day in enumerate(all_days):
        back = days - 1 - number
        wave = 0.012 * ((number * 7) % 5 - 2)
        if back >= 6:
            value = 0.84 + wave - max(0, number - days // 2) * 0.0042
            first.append(
                MetricPoint(day, "revised" if back == 11 else "mature", value, n=829, labelled=830, predictions=840)
            )
        elif back >= 3:
            second.append(MetricPoint(day, "mature", 0.855 + wave, n=826, labelled=828, predictions=840))
        elif back == 2:
            second.append(
                MetricPoint(day, "provisional", 0.842, least=0.79, most=0.93, n=699, labelled=700, predictions=850)
            )
        else:
            low, high = (0.77, 0.84) if back == 0 else (0.815, 0.862)
            labelled = 140 if back == 0 else 780
            newest = MetricPoint(day, "estimated", (low + high) / 2, low, high, 0.4, 0.98, labelled - 1, labelled, 850)
            second.append(newest if back == 0 else replace(newest, status="provisional"))
    running = (NowcastSeries(all_days[-1], "flights-v2", 0.81, 0.77, 0.84, 0.90),)
    sql = "SELECT \"day\", version, accuracy, status FROM metrics WHERE kind = 'arrived_late'"
    series = tuple(
        MetricSeries(version, tuple(points)) for version, points in (("flights-v1", first), ("flights-v2", second))
    )
    return MetricPanel("accuracy", tuple(one for one in series if one.points), running, sql=sql)


def drift_of(days: int = 30) -> DriftPanel:
    """Return a lane per input, with every state."""

    def cell(number: int, seed: int) -> DriftCell:
        if number < 6:
            return DriftCell("calibrating")
        if seed == 0 and number >= days - 3:
            return DriftCell("alarm", "errors went from 16.0 % to 27.0 %")
        if (number * 5 + seed * 11) % 43 == 0:
            return DriftCell("critical", "PSI 0.31, usually below 0.12")
        state: DriftState = "warn" if (number * 3 + seed * 7) % 29 == 0 else "ok"
        return DriftCell(state, "PSI 0.14, usually below 0.12" if state == "warn" else "")

    groups = [
        ("error", "error"),
        ("score", "output"),
        ("arrived_late", "label"),
        *((one, "feature") for one in FEATURES),
    ]
    lanes = [
        DriftLane(name, group, tuple(cell(number, seed) for number in range(days)))  # type: ignore[arg-type] # of four words
        for seed, (name, group) in enumerate(groups)
    ]
    gap = replace(lanes[-1], cells=(*lanes[-1].cells[:-1], DriftCell("no_data")))
    return DriftPanel(tuple(days_before(days)), (*lanes[:-1], gap), "SELECT * FROM evidence WHERE topic = 'drift'")


def gate_of() -> GatePanel:
    """Return a gate with a reason for a retrain, but unfulfilled requirements."""
    conditions = (
        GateCondition("coverage", "ok", "ok", is_fulfilled=True),
        GateCondition("mature_labels", "2,488", "2,000", is_fulfilled=True),
        GateCondition("rarer_class", "655", "100", is_fulfilled=True),
        GateCondition("cooldown", "5d 3h", "7d", is_fulfilled=False),
        GateCondition("budget", "unknown", "2 a month", is_fulfilled=None),
    )
    evaluations = (
        GateEvaluation(
            NOW_MS - HOUR_MS, "cooling", "the error shifted on 2013-07-06, and 2 days of the cooldown are left"
        ),
        GateEvaluation(NOW_MS - DAY_MS, "watching", "one large shift, which alone requests no retrain"),
    )
    decisions = (
        GateRetrain(
            "rt-5b1f0c9d7e6a4b3c8d2e1f0a9b8c7d6e",
            NOW_MS - 5 * DAY_MS,
            "running",
            "error shifted from 0.16 to 0.27 on 2013-06-30; 2,214 final labels since",
            "truthloop retrain resolve rt-5b1f0c9d7e6a4b3c8d2e1f0a9b8c7d6e",
        ),
        GateRetrain("rt-0a9b8c7d6e5b1f0c9d7e6a4b3c8d2e1f", NOW_MS - 40 * DAY_MS, "completed", "drift of the error"),
    )
    return GatePanel(
        "cooling",
        "The error has shifted again, and a retrain may be asked for from 2013-07-10 16:00 -04:00.",
        NOW_MS - 5 * DAY_MS,
        conditions,
        evaluations,
        decisions,
        (
            CommandHint("truthloop retrain --explain", "shows what is missing"),
            CommandHint("truthloop retrain --now --reason '...'", "asks at once, and says who did"),
        ),
        "SELECT * FROM decisions ORDER BY at DESC",
    )


def flow_of() -> FlowPanel:
    """Return roles of which one is behind, and a source that is silent."""
    roles = (
        RoleFlow("ingest", "ok", 0, "airline.scores 6 of 6 partitions", NOW_MS),
        RoleFlow("join", "ok", 214, "8 of 8 partitions", NOW_MS - 2_000),
        RoleFlow("lake", "behind", 12_480, "version 1,204", NOW_MS - 190_000),
        RoleFlow("feedback", "unknown", None, "version 1,198", None),
    )
    rejects = (
        RejectCount("predictions", "duplicate", 1_204, NOW_MS - HOUR_MS),
        RejectCount("labels", "unknown_prediction", 31, NOW_MS - 26 * HOUR_MS),
    )
    sources = (
        SourceState("arrivals", "arrived_late", "alive", NOW_MS - 60_000, 20 * 60_000),
        SourceState("manual-corrections", "arrived_late", "silent", NOW_MS - 9 * DAY_MS, 3 * DAY_MS),
    )
    return FlowPanel(roles, rejects, sources, 'SELECT "input", reason, count(*) FROM rejects GROUP BY ALL')


def backfills_of() -> BackfillPanel:
    """Return a backfill that waits and one that was approved."""
    why = "8,123 labels restate the past: quarantined. They are of another definition than the config's."
    state = "Waits for a person since 2013-07-01 00:00 -04:00. Until then it does not count."
    ruled = "Approved by Ann (an attestation: nobody has checked who that is): the desk has checked it."
    times = (NOW_MS - 7 * DAY_MS, NOW_MS - 30 * DAY_MS)
    return BackfillPanel(
        (
            BackfillRow(
                EPISODE,
                "arrived_late",
                "redefined",
                times[0],
                8_123,
                "quarantined",
                is_waiting=True,
                state=state,
                why=why,
            ),
            BackfillRow(
                f"bf-{8:032x}",
                "arrived_late",
                "stale, corrected",
                times[1],
                312,
                "approved",
                is_waiting=False,
                state=ruled,
                why=why,
            ),
        )
    )


def rich_view(days: int = 30, ages_ms: tuple[int, ...] = AGES_MS) -> PageView:
    """Return a view with something in every panel."""
    newest = MaturityCurve("2013-07-08", ((3 * HOUR_MS, 0.13), (4 * HOUR_MS, 0.44)))
    before = MaturityCurve("2013-07-07", tuple(zip(AGES_MS, (share * 0.98 for share in USUAL), strict=True)))
    thin = MaturityCurve("2013-07-04", tuple(zip(AGES_MS, (share * 0.62 for share in USUAL), strict=True)))
    usual = MaturityCurve("expected", tuple(zip(AGES_MS, USUAL, strict=True)))
    versions = VersionComparison(
        "accuracy", "flights-v1", "flights-v2", 2_488, 0.7812, 0.8554, 0.0742, 0.051, 0.0974, "flights-v2 is better"
    )
    quality = (
        QualityCount("wind_mph", "outside its limits", 3, 0.0001, "ok"),
        QualityCount("origin_delay_min", "missing", 410, 0.064, "warn"),
    )
    return PageView(
        LoopSummary("flights", "America/New_York", ("arrived_late",), ("flights-v1", "flights-v2")),
        PageVerdict(
            "WATCH",
            "The error has shifted since 2013-07-06; a retrain may be asked for in 2 days.",
            "working hours",
            "truthloop retrain --explain",
        ),
        Freshness(NOW_MS, NOW_MS - 190_000, NOW_MS - 2_000),
        Choices(
            ("arrived_late",),
            ("flights-v1", "flights-v2"),
            ("origin=EWR", "origin=JFK", "origin=LGA"),
            (("arrived_late", ("accuracy", "roc_auc", "log_loss")),),
            uncounted=("seat",),
        ),
        Selection("arrived_late", "", "", "accuracy", days),
        coverage_of(days, ages_ms),
        MaturityPanel(usual, (newest, before, thin), 0.44, 0.46),
        metric_of(days),
        drift_of(days),
        QualityPanel(quality),
        gate_of(),
        backfills_of(),
        VersionsPanel((versions, replace(versions, metric="log_loss", difference=-0.0811, low=-0.11, high=-0.05))),
        flow_of(),
    )


def empty_view() -> PageView:
    """Return the view of a new loop: nothing has been read."""
    return PageView(
        LoopSummary("flights", "America/New_York", ("arrived_late",), ()),
        PageVerdict("WATCH", "Nothing has been read yet: the roles are starting.", "none"),
        Freshness(NOW_MS, None, None),
        Choices(("arrived_late",), (), (), ()),
        Selection("arrived_late"),
        CoveragePanel(AGES_MS, ()),
        MaturityPanel(MaturityCurve("expected", ()), ()),
        MetricPanel("", ()),
        DriftPanel((), ()),
        QualityPanel(()),
        GatePanel("idle", "Nothing to decide on yet."),
        BackfillPanel(),
        VersionsPanel(()),
        FlowPanel((), (), ()),
    )


def hostile_view(name: str) -> PageView:
    """Return the rich view with one name in every field that data or people can fill."""
    view = rich_view(8)
    nan = float("nan")
    cohorts = tuple(replace(cohort, version=name) for cohort in view.coverage.cohorts)
    series = (
        *view.metric.series,
        MetricSeries(name, (MetricPoint(view.drift.days[-1], "provisional", 0.8, nan, nan, nan, nan),)),
    )
    lanes = (DriftLane(name, "feature", tuple(DriftCell("critical", name) for _ in view.drift.days)),)
    return PageView(
        LoopSummary(name, name, (name, "arrived_late"), (name, "v2")),
        PageVerdict("HOLD", name, "now", name),
        view.freshness,
        Choices((name, "arrived_late"), (name, "v2"), (name,), ((name, (name,)),)),
        Selection(name, EVERY, name, name, 8),
        replace(view.coverage, cohorts=cohorts, sql=f"SELECT '{name}'", note=name),
        replace(
            view.maturity,
            expected=MaturityCurve(name, view.maturity.expected.points),
            cohorts=(MaturityCurve(name, ((1, nan),)),),
        ),
        replace(view.metric, name=name, series=series, running=(NowcastSeries(name, name, nan, nan, nan, nan),)),
        replace(view.drift, lanes=lanes),
        QualityPanel((QualityCount(name, name, 1, nan, "alarm"),)),
        GatePanel(
            name,
            name,
            NOW_MS,
            (GateCondition(name, name, name, is_fulfilled=None),),
            (GateEvaluation(NOW_MS, name, name),),
            (GateRetrain(name, 10**18, name, name, name),),
            (CommandHint(name, name),),
        ),
        BackfillPanel((BackfillRow(EPISODE, name, name, NOW_MS, 5, name, is_waiting=True, state=name, why=name),)),
        VersionsPanel((VersionComparison(name, name, name, 0, nan, None, float("inf"), nan, nan, name),)),
        FlowPanel(
            (RoleFlow(name, "stalled", None, name),),
            (RejectCount(name, name, 1),),
            (SourceState(name, name, "late", None),),
        ),
    )
