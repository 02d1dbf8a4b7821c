"""What a process loads before it does anything: not what only few of its ways need, and takes long."""

import subprocess
import sys

SLOW = {"confluent_kafka", "deltalake", "duckdb", "numpy", "polars", "pyarrow", "pydantic", "rich", "scipy", "sklearn"}
"""Packages that take longer to load than `--help` may."""

PROGRAM = """
import sys
from truthloop.__main__ import app
try:
    app(["--help"])
finally:
    print(*sys.modules, file=sys.stderr)
"""


def test_help_loads_no_slow_package() -> None:
    """The modules of all commands are imported, and the help is complete."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True, timeout=60)
    loaded = set(done.stderr.split())
    assert not loaded & SLOW
    assert {"truthloop.cli.commands.metrics", "truthloop.cli.commands.demo"} < loaded
    assert all(f"\n  {name} " in done.stdout for name in ("demo", "replay", "metrics", "lake", "retrain"))


def test_an_evaluation_loads_no_distributions() -> None:
    """`scipy.stats` takes a second; what the monitor needs of it always is in `scipy.special`, too."""
    program = "import sys, truthloop.feedback.reconcile; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert "scipy.stats" not in done.stdout.split()
    assert "scipy.special" in done.stdout.split()


def test_the_feedback_role_is_ready_before_it_loads_what_only_its_first_reconciliation_needs() -> None:
    """River's metrics load `scipy.stats`; the nowcast is asked for by the page."""
    program = "import sys, streams.feedback.role, truthloop.feedback.service; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert not {"river", "scipy.stats", "scipy.interpolate"} & set(done.stdout.split())
