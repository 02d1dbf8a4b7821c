"""Lakes that older versions have written: read as they are, and continued, with the same result as a new one.

`tests/support/golden_case.py` says how a lake is kept. A version whose lakes cannot be taken along refuses them instead
(`tests/unit/lake/test_marker.py`).
"""

import json
from pathlib import Path

import pytest
from golden_case import NIGHTS, facts, make_config, read_night, write_lake
from lake_archive import unpack_lake

from lake import Lake
from retrain.decision_log import DecisionLog
from schemas.events.evidence import Event
from truthloop.config.settings import Settings

GOLDEN = Path(__file__).parents[1] / "golden"
VERSIONS = sorted(path.name.removesuffix(".tar.xz") for path in GOLDEN.glob("*.tar.xz"))
KINDS = ("paid", "days")


def unpack(version: str, folder: Path) -> Settings:
    """Return the loop with the lake of a version, in another folder than the one it was written in."""
    unpack_lake(GOLDEN / f"{version}.tar.xz", folder)
    return make_config(folder)


def evaluated(settings: Settings) -> list[tuple[str, int, str, str | None]]:
    """Return what was evaluated, with the gate's state and the model version."""
    lake = Lake.open(settings.lake)
    logs = {kind: DecisionLog(lake, kind).entries() for kind in KINDS}
    return [
        (kind, one.at, one.state.value, one.version)
        for kind, log in logs.items()
        for one in log
        if one.event is Event.EVALUATED
    ]


@pytest.fixture(scope="module")
def anew(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The same nights and one more, read by this version alone."""
    settings = write_lake(tmp_path_factory.mktemp("anew"))
    read_night(settings, NIGHTS)
    return settings


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lake_of_an_older_version_says_what_it_said_then(version: str, tmp_path: Path) -> None:
    """Before anything is written to it: statuses, values as of a day, revisions, rejects and metrics."""
    assert facts(unpack(version, tmp_path)) == json.loads((GOLDEN / f"{version}.json").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lake_of_an_older_version_is_continued_like_a_new_one(version: str, tmp_path: Path, anew: Settings) -> None:
    """The next night joins, corrects and retracts what the nights before left open; the gate goes on where it was."""
    settings = unpack(version, tmp_path)
    read_night(settings, NIGHTS)
    assert facts(settings) == facts(anew)
    assert evaluated(settings) == evaluated(anew)
