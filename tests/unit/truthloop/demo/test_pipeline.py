"""The company's pipeline of the demo: it trains on what was signed, once, and on nothing else."""

import hashlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import polars as pl
import pytest
from standardwebhooks.webhooks import Webhook

from truthloop.demo.features import FEATURES
from truthloop.demo.pipeline import Pipeline, Trained

SECRET = "whsec_" + "A" * 43 + "="
ROWS = 400
DEADLINE_S = 120


@pytest.fixture
def pipeline() -> Iterator[Pipeline]:
    """Run one on a free port."""
    with Pipeline(0, SECRET) as running:
        yield running


def dataset(folder: Path) -> dict[str, str]:
    """Write a data set with its manifest; return what a request says of it."""
    random = np.random.default_rng(7)
    columns = {f"feature_{name}": random.integers(0, 9, ROWS).astype(np.float64) for name in FEATURES}
    rows = pl.DataFrame(columns | {"value": (random.random(ROWS) < 0.3).astype(np.float64)})
    files = {}
    for part in ("train", "holdout"):
        path = folder / f"{part}.parquet"
        rows.write_parquet(path)
        files[path.name] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"files": files}))
    return {"manifest_uri": manifest.as_uri(), "manifest_sha256": hashlib.sha256(manifest.read_bytes()).hexdigest()}


def post(pipeline: Pipeline, event: dict[str, Any], secret: str = SECRET) -> int:
    """Send a signed request; return the status of the answer."""
    body, at = json.dumps(event), datetime.now(UTC)
    headers = {
        "webhook-id": event["id"],
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event["id"], at, body),
    }
    connection = HTTPConnection("127.0.0.1", pipeline.port, timeout=30)
    try:
        connection.request("POST", "/retrain", body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


def settled(pipeline: Pipeline) -> list[Trained]:
    """Wait until the pipeline rests; return what it has trained."""
    deadline, pause = time.monotonic() + DEADLINE_S, Event()
    while pipeline.is_busy:
        assert time.monotonic() < deadline, "the pipeline does not come to rest"
        pause.wait(0.05)
    found = []
    while (trained := pipeline.next_trained()) is not None:
        found.append(trained)
    return found


def test_a_signed_request_trains_one_model_however_often_it_is_sent(pipeline: Pipeline, tmp_path: Path) -> None:
    """Requests are sent again until they are answered."""
    event = {"id": "rt-1", "data": {"dataset": dataset(tmp_path)}}
    assert [post(pipeline, event) for _ in range(3)] == [200, 200, 200]
    (trained,) = settled(pipeline)
    assert (trained.decision, trained.model.version) == ("rt-1", "v2")
    assert trained.holdout_log_loss is not None


def test_another_secret_is_refused(pipeline: Pipeline, tmp_path: Path) -> None:
    """Nothing is trained."""
    event = {"id": "rt-1", "data": {"dataset": dataset(tmp_path)}}
    assert post(pipeline, event, "whsec_" + "B" * 43 + "=") == 401
    assert settled(pipeline) == []


@pytest.mark.parametrize("name", ["train.parquet", "manifest.json"])
def test_a_data_set_that_was_changed_is_not_trained_on(pipeline: Pipeline, tmp_path: Path, name: str) -> None:
    """The digests are those that were signed."""
    event = {"id": "rt-1", "data": {"dataset": dataset(tmp_path)}}
    with (tmp_path / name).open("ab") as file:
        file.write(b" ")
    assert post(pipeline, event) == 200
    assert settled(pipeline) == []
