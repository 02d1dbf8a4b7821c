"""Workers of one loop that share nothing but Kafka and a bucket: killed in one folder, they go on in the other.

Tests `streams.join_worker.recovery` and `streams.lake_sink.role` on an object store that refuses, slows and loses.
"""

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from live_case import DAY_MS, Loop, Traffic, finish, lake_differences, running
from live_lake import assert_same
from object_store import Bucket, FaultProxy

from lake import Lake
from lake.maintenance.backup import back_up
from truthloop.clock import now_ms
from truthloop.config.settings import load_settings
from truthloop.evidence.cells import read_evidence
from truthloop.evidence.conservation import check_conservation

DEFINITIONS = {"fraud": "chargeback", "click": "clicked"}
SHAKY = (
    *({"kind": kind, "count": 1} for kind in ("unavailable", "cut", "half", "slow")),
    {"kind": "lost", "count": 4, "match": r"^PUT .*/_delta_log/\d{20}\.json"},
    {"kind": "lost", "share": 0.01, "match": "^PUT"},
    {"kind": "unavailable", "share": 0.01},
    {"kind": "cut", "share": 0.01},
    {"kind": "half", "share": 0.01},
    {"kind": "slow", "share": 0.01},
)
PIECES: tuple[tuple[Mapping[str, Any], ...], ...] = (
    SHAKY,
    ({"kind": "expired", "count": 60}, *SHAKY),
    ({"kind": "gone", "count": 60}, *SHAKY),
    SHAKY,
    SHAKY,
)
"""What goes wrong with the store after each piece of traffic."""
MET = ((), ("unavailable", "cut", "half", "slow", "lost"), ("expired",), ("gone",), ())
"""Which of it has to have happened before the next worker is killed."""
ROLES = (("join", "0"), ("lake", "0"), ("feedback", "0"), ("join", "1"), ("lake", "1"))


@pytest.mark.timeout(400)
def test_workers_in_two_folders_share_only_kafka_and_a_bucket(
    kafka: str, bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    """Nothing is lost or doubled: after each piece of traffic a worker is killed, and goes on where it never was."""
    traffic = Traffic(20_261_201, 3_000, now_ms() - 4 * DAY_MS)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with running(Loop(tmp_path / "a", kafka, place=bucket.place)) as one, running(one.elsewhere(tmp_path / "b")) as two:
        one.begin()
        homes = dict(zip(ROLES, cycle((one, two)), strict=False))
        workers = {role: home.run(*role) for role, home in homes.items()}
        faults, met, victims, seen = iter(PIECES), iter(MET), cycle(ROLES), Counter[str]()

        def kill(_sent: int) -> None:
            kinds = {*next(met)}
            one.wait("the faults", lambda: kinds <= {kind for kind, count in proxy.faults().items() if count})
            seen.update(proxy.faults())
            proxy.set(*next(faults))
            role = next(victims)
            assert [name for name, worker in workers.items() if worker.poll() is not None] == []
            workers[role].kill()
            workers[role].wait()
            homes[role] = two if homes[role] is one else one
            workers[role] = homes[role].run(*role)
            one.wait("the join", lambda: one.lag("join", ("predictions", "labels")) == 0)

        one.produce(traffic, kill, len(PIECES))
        assert finish(one, traffic) == []
        one.wait("the lake", lambda: not lake_differences(one))
        assert [name for name, worker in workers.items() if worker.poll() is not None] == []
        restored = [log for log in (one.log("join", "1"), two.log("join", "0")) if "is restored from the lake" in log]
        assert restored
    seen.update(proxy.faults())
    assert min(seen[kind] for kind in ("lost", "unavailable", "cut", "half", "slow", "expired", "gone")) > 0
    proxy.set()
    assert check_conservation(Lake.open(bucket.place), DEFINITIONS).violations == []
    settings = load_settings(one.config)
    back_up(bucket.place, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "cells")
    Lake.create(tmp_path / "copy", settings.config)
    recounted = read_evidence(replace(settings, lake=tmp_path / "copy"))
    assert recounted.cells.whole().height > 0
    assert_same(read_evidence(settings), recounted)
