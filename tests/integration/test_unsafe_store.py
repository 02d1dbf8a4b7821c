"""What writes to a lake for long refuses a store that has become unsafe, whoever created the lake.

Covers `lake.storage.probe`.
"""

import json
from pathlib import Path

import pytest
import typer
from object_store import Bucket, FaultProxy
from replay_case import CONFIG

from lake import Lake
from schemas.errors import LakeError
from streams.runtime.health import Health
from truthloop.cli.commands.lake import maintain, status
from truthloop.clock import now_ms
from truthloop.config.settings import load_settings
from truthloop.feedback.metrics import FeedbackMetrics
from truthloop.feedback.service import FeedbackHandlers


def test_a_role_and_a_command_that_write_refuse_an_unsafe_store(
    bucket: Bucket, proxy: FaultProxy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that only looks does not ask."""
    config = CONFIG.model_dump(mode="json", by_alias=True, exclude_unset=True)
    file = tmp_path / "truthloop.yaml"
    file.write_text(json.dumps(config | {"lake": {"uri": bucket.place.as_uri()}}))
    settings = load_settings(file)
    Lake.create(settings.lake, settings.config)
    health = Health("feedback")
    proxy.set({"kind": "unconditional"})
    with pytest.raises(LakeError, match="the store let 8 of 8 writers"):
        FeedbackHandlers(settings, health, FeedbackMetrics(health.registry), now_ms, 0, {})
    with pytest.raises(typer.Exit):
        maintain(file)
    assert "the store let 8 of 8 writers" in capsys.readouterr().err
    proxy.set()
    maintain(file, dry_run=True)
    status(file)
    assert not any(one.startswith("PUT") for one in proxy.requests())
