"""A replay that was interrupted within a step: readers ignore the step until every table has it."""

import itertools
from pathlib import Path

import pytest
from deltalake import DeltaTable
from effort import some
from live_lake import VIEWS, assert_same, assert_same_rows, settings_of, view_rows
from replay_case import CLOSE_MS, CONFIG, Files, run, write_files

from lake import Lake
from schemas.errors import LakeError
from streams.ledger.lake_kind import complete_rows
from streams.replay import sorted_input
from truthloop.evidence.cells import read_evidence
from truthloop.evidence.conservation import check_conservation

APPENDS = 5
"""Appends of one step: ledger, rejects, labels, predictions, outcomes."""

SHOWN = (*VIEWS, "truthloop_observed", "truthloop_stand")
DEFINITIONS = {kind: label.definition for kind, label in CONFIG.labels.items()}


def interrupted(lake: Path, files: Files, appends: int) -> Path:
    """Return a lake whose replay was interrupted after this number of appends."""
    append, calls = Lake.append, itertools.count()

    def failing(lake: Lake, *args: object, **how: object) -> bool:
        if next(calls) == appends:
            raise LakeError("the disk is full")
        return append(lake, *args, **how)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_input, "ROWS_PER_SLICE", 20)
        patch.setattr(Lake, "append", failing)
        with pytest.raises(LakeError, match="disk is full"):
            run(lake, files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    return lake


@pytest.mark.parametrize(("back", "checkpointed"), some((1, True), (3, False), (1, False), (3, True), at_least=2))
def test_an_incomplete_step_is_ignored(tmp_path: Path, *, back: int, checkpointed: bool) -> None:
    """Cells, reach, views and identities are those of the step before, whichever tables have the incomplete one."""
    files = write_files(tmp_path, count=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_input, "ROWS_PER_SLICE", 20)
        run(tmp_path / "whole", files.prediction_files, files.label_files, close_at_ms=CLOSE_MS)
    steps = Lake.open(tmp_path / "whole").applied("ledger", "replay")
    clean = interrupted(tmp_path / "clean", files, APPENDS * (steps - back))
    before, expected = read_evidence(settings_of(clean)), view_rows(clean, SHOWN)
    for appends in range(1, APPENDS):
        torn = interrupted(tmp_path / f"torn-{appends}", files, APPENDS * (steps - back) + appends)
        lake = Lake.open(torn)
        assert lake.applied("ledger", "replay") == steps - back + 1
        assert {row.sequence for row in complete_rows(lake).values()} == {steps - back - 1}
        if checkpointed:
            for table in ("ledger", "outcomes"):
                DeltaTable(str(torn / table)).create_checkpoint()
        assert_same(read_evidence(settings_of(torn)), before)
        assert_same_rows(view_rows(torn, SHOWN), expected)
        assert check_conservation(lake, DEFINITIONS).violations == []
