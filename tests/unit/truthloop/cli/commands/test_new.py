"""`truthloop new`: it writes a valid, commented config, and overwrites no file without --force."""

import json
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner, Result

from schemas.base.metric_name import METRICS
from schemas.errors import ConfigError
from truthloop.cli.commands.new import Task, new, starting_config
from truthloop.config.advice import advise
from truthloop.config.settings import load_settings

TASKS = get_args(Task)


def run(*arguments: str) -> Result:
    """Run the command."""
    app = typer.Typer()
    app.command()(new)
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("loop", "kind"), [("my-model", "purchase"), ("123", "null"), ("1e5", "True"), ("no", "y")])
def test_what_it_writes_is_a_valid_config(tmp_path: Path, loop: str, kind: str, task: Task) -> None:
    """For every task, and for names that YAML could read as a number, null or bool."""
    path = tmp_path / "truthloop.yaml"
    result = run(str(path), "--loop", loop, "--kind", kind, "--task", task)
    assert result.exit_code == 0, result.output
    config = load_settings(path, {}).config
    assert (config.loop, list(config.labels)) == (loop, [kind])
    assert config.predictions.outputs[kind].task == task
    assert [source.as_ for source in config.ingest] == ["predictions", "labels"]
    expected = [] if task == "binary" else [f"metrics.{kind}: is not set; {', '.join(METRICS[task])} are shown"]
    assert [str(advice) for advice in advise(config)] == expected


@pytest.mark.parametrize("task", TASKS)
def test_every_section_is_explained(task: Task) -> None:
    """There is a comment above each section, and lines fit into an editor."""
    lines = starting_config("a", "purchase", task).splitlines()
    for before, line in pairwise(lines):
        if line[:1].isalpha() and not line.startswith("loop:"):
            assert before.startswith("#"), line
    assert max(map(len, lines)) <= 110


def test_the_default_file_is_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command is printed."""
    monkeypatch.chdir(tmp_path)
    result = run()
    assert result.exit_code == 0
    assert result.stdout == ""
    assert result.stderr.rstrip().endswith("truthloop check")
    assert load_settings(Path("truthloop.yaml"), {}).lake == tmp_path.resolve() / "lake"


def test_json_names_the_file(tmp_path: Path) -> None:
    """One document on stdout."""
    path = tmp_path / "a.yaml"
    result = run(str(path), "--json")
    assert json.loads(result.stdout) == {"path": str(path)}


def test_an_existing_file_is_overwritten_only_with_force(tmp_path: Path) -> None:
    """Otherwise exit code 2, with --force in the hint."""
    path = tmp_path / "truthloop.yaml"
    path.write_text("mine")
    result = run(str(path))
    assert result.exit_code == 2
    assert "the file exists and was not changed" in result.stderr
    assert "--force" in result.stderr
    assert path.read_text() == "mine"
    assert run(str(path), "--force").exit_code == 0
    assert load_settings(path, {}).config.version == 1


def test_a_folder_gets_a_hint(tmp_path: Path) -> None:
    """With the command that was probably meant."""
    result = run(str(tmp_path))
    assert result.exit_code == 2
    assert "this is a folder" in result.stderr
    assert str(tmp_path / "truthloop.yaml") in result.stderr.replace("\n", "")


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    """Folders are not created."""
    result = run(str(tmp_path / "no" / "truthloop.yaml"))
    assert result.exit_code == 2
    assert "the file cannot be written: no such file or directory" in result.stderr


@pytest.mark.parametrize(
    ("loop", "kind", "message"),
    [
        ("My Loop", "x", "--loop 'My Loop'"),
        ("a\n", "x", "--loop"),
        ("a", "1x", "--kind '1x'"),
        ("a", "x: y", "--kind"),
        ("a", "", "--kind"),
    ],
)
def test_invalid_names_are_refused(loop: str, kind: str, message: str) -> None:
    """Before anything is written."""
    with pytest.raises(ConfigError, match=message):
        starting_config(loop, kind, "binary")
