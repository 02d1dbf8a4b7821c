"""All roles of a loop on one machine: what the supervisor does when one of them ends."""

from pathlib import Path

from schemas.config.loop import LoopConfig
from truthloop.config.settings import Settings
from truthloop.run.supervisor import USAGE_ERROR, Supervisor

CONFIG = {
    "version": 1,
    "loop": "t",
    "predictions": {"outputs": {"click": {"task": "binary"}}},
    "labels": {"click": {"definition": "d", "horizon": "1h", "retain": "2h"}},
}


def test_a_config_that_cannot_work_ends_all_roles_with_its_code(tmp_path: Path) -> None:
    """To start such a role again and again would help nobody."""
    path = tmp_path / "truthloop.yaml"
    path.write_text("version: 1\nloop: t\npredictoins: {}\n")
    settings = Settings(
        LoopConfig.model_validate(CONFIG), path, tmp_path / "lake", tmp_path / "state", tmp_path / "sets"
    )
    assert Supervisor(settings, ["join", "lake"]).run() == USAGE_ERROR
