"""`import truthloop` fails if another package has one of its names."""

import subprocess
import sys
from pathlib import Path

import pytest

import truthloop


def start(folder: Path) -> subprocess.CompletedProcess[str]:
    """Import truthloop in a fresh interpreter with `folder` first on its path."""
    home = Path(truthloop.__file__).parents[1]
    program = f"import sys; sys.path[:0] = [{str(folder)!r}, {str(home)!r}]; import truthloop; print('started')"
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)


def test_it_starts_if_nothing_shadows_its_packages(tmp_path: Path) -> None:
    """As a control."""
    assert start(tmp_path).stdout == "started\n"


@pytest.mark.parametrize("name", ["schemas.py", "schemas/__init__.py", "lake.py", "retrain.py"])
def test_it_refuses_to_start_if_another_module_has_one_of_its_names(tmp_path: Path, name: str) -> None:
    """The message has both paths and what to do."""
    foreign = tmp_path / name
    foreign.parent.mkdir(exist_ok=True)
    foreign.touch()
    refused = start(tmp_path)
    assert refused.returncode != 0
    assert str(foreign) in refused.stderr
    assert "install it in an environment of its own" in refused.stderr


def test_it_refuses_to_start_if_another_distribution_installs_one_of_its_names(tmp_path: Path) -> None:
    """An overwritten package is in the right place; only the list of distributions shows it."""
    info = tmp_path / "somebody-1.0.dist-info"
    info.mkdir()
    (info / "RECORD").write_text("somebody.py,,\nschemas/__init__.py,,\n", "utf-8")
    refused = start(tmp_path)
    assert refused.returncode != 0
    assert "somebody also installs a package named `schemas`" in refused.stderr
