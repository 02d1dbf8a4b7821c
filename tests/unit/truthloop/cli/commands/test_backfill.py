"""`truthloop backfill`: the list, the diff, and a person's ruling."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ruling_case import EPISODE, approvals, backfill_diff, grown, log_backfill, log_of, make_loop, statement
from typer.testing import CliRunner, Result

from schemas.events.backfill_diff import BackfillDiff
from schemas.events.evidence import Event
from truthloop.__main__ import app
from truthloop.cli.commands import backfill as command
from truthloop.cli.commands.backfill import WAITING
from truthloop.config.settings import Settings

OTHER = f"bf-{8:032x}"


@pytest.fixture
def loop(tmp_path: Path) -> Settings:
    """A loop without backfills."""
    return make_loop(tmp_path)


def run(settings: Settings, *words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["backfill", *words, "--config", str(settings.path)])


def rule(settings: Settings, verb: str, digest: str, reason: str = "checked", episode: str = EPISODE) -> Result:
    """Rule about the backfill."""
    return run(settings, verb, episode, "--diff", digest, "--reason", reason)


def document(result: Result) -> Any:
    """Return the JSON document."""
    return json.loads(result.stdout)


def test_without_backfills_nothing_waits(loop: Settings) -> None:
    """Exit code 0, for scripts."""
    result = run(loop, "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 of 0 backfills wait" in result.stderr
    assert document(run(loop, "list", "--json")) == {"waiting": 0, "backfills": []}


def test_while_one_waits_the_list_has_its_own_exit_code(loop: Settings) -> None:
    """3, as the help says; with the next command."""
    log_backfill(loop, backfill_diff())
    result = run(loop, "list")
    assert result.exit_code == WAITING == 3
    for part in ("waits", EPISODE, "another definition"):
        assert part in result.stdout
    assert f"Next: truthloop backfill diff {EPISODE}" in result.stderr
    listed = run(loop, "list", "--json")
    assert listed.exit_code == WAITING
    waiting = document(listed)["backfills"][0]
    assert (waiting["waits"], waiting["verdict"], waiting["ruled"]) == (True, "quarantined", None)
    assert waiting["diff_sha256"] == backfill_diff().sha256()
    assert waiting["episode"]["id"] == EPISODE
    assert "Exit code 3" in run(loop, "list", "--help").stdout


def test_the_diff_is_shown_with_its_digest_and_the_two_next_commands(loop: Settings) -> None:
    """Ready to copy."""
    sha256 = log_backfill(loop, backfill_diff())
    result = run(loop, "diff", EPISODE)
    assert result.exit_code == 0
    assert f"sha256 {sha256}" in result.stdout
    for verb in ("approve", "reject"):
        assert f"truthloop backfill {verb} {EPISODE} --diff {sha256[:12]} --reason TEXT" in result.stdout
    assert "Waits for a person since" in result.stdout


def test_the_sha256_of_the_json_is_the_digest(loop: Settings) -> None:
    """So that `sha256sum` can check it."""
    sha256 = log_backfill(loop, backfill_diff())
    result = run(loop, "diff", EPISODE, "--json")
    assert hashlib.sha256(result.stdout_bytes).hexdigest() == sha256
    assert BackfillDiff.model_validate_json(result.stdout_bytes) == backfill_diff()


def test_the_html_of_the_diff_is_one_file_that_loads_nothing(loop: Settings, tmp_path: Path) -> None:
    """It can be sent by mail."""
    sha256 = log_backfill(loop, backfill_diff())
    file = tmp_path / "diff.html"
    assert run(loop, "diff", EPISODE, "--html", str(file)).exit_code == 0
    html = file.read_text()
    assert sha256 in html
    assert "<style>" in html
    for part in ("<link", "<script", "<form", "src=", 'href="..'):
        assert part not in html
    both = run(loop, "diff", EPISODE, "--json", "--html", str(file))
    assert both.exit_code == 2


@pytest.mark.parametrize(("verb", "event"), [("approve", Event.APPROVED), ("reject", Event.REJECTED)])
@pytest.mark.parametrize("length", [12, 64])
def test_a_ruling_reports_who_ruled_and_what_happens_next(loop: Settings, verb: str, event: Event, length: int) -> None:
    """By the user of this machine, which is an attestation."""
    sha256 = log_backfill(loop, backfill_diff())
    result = rule(loop, verb, sha256[:length].upper())
    assert result.exit_code == 0, result.stderr
    text = " ".join(result.stderr.split())
    for part in ("an attestation", "The feedback role restates", "truthloop retrain evaluate"):
        assert part in text
    entry = log_of(loop)[-1]
    assert (entry.event, entry.reason, entry.detail["diff_sha256"]) == (event, "checked", sha256)
    assert (entry.detail["by_source"], entry.detail["via"]) == ("attested", "terminal")
    assert entry.detail["by"] == command.local_user()
    listed = run(loop, "list")
    assert listed.exit_code == 0
    assert "an attestation" in listed.stdout


def test_a_digest_of_another_diff_changes_nothing(loop: Settings) -> None:
    """Nor does one that is too short."""
    old = log_backfill(loop, backfill_diff())
    log_backfill(loop, grown(backfill_diff()))
    result = rule(loop, "approve", old)
    assert result.exit_code == 1
    text = " ".join(result.stderr.split())
    assert "the diff has changed" in text
    assert "Nothing was changed." in text
    assert f"truthloop backfill diff {EPISODE}" in text
    assert rule(loop, "approve", grown(backfill_diff()).sha256()[:11]).exit_code == 2
    assert rule(loop, "approve", "").exit_code == 2
    assert [entry.event for entry in log_of(loop)] == [Event.BACKFILLED, Event.BACKFILLED, Event.REFUSED]


def test_a_second_ruling_is_refused(loop: Settings) -> None:
    """With the name of who ruled first."""
    sha256 = log_backfill(loop, backfill_diff())
    approvals(loop).rule(statement(sha256))
    result = rule(loop, "reject", sha256)
    assert result.exit_code == 1
    assert "it is decided already. Approved by Ann" in " ".join(result.stderr.split())
    assert [entry.event for entry in log_of(loop)][:2] == [Event.BACKFILLED, Event.APPROVED]


def test_an_unknown_backfill_is_a_usage_error(loop: Settings) -> None:
    """Exit code 2; so is a ruling without a reason."""
    sha256 = log_backfill(loop, backfill_diff())
    for result in (
        run(loop, "diff", OTHER),
        rule(loop, "approve", sha256, episode=OTHER),
        rule(loop, "approve", sha256, episode="\x1b[31m"),
        rule(loop, "reject", sha256, reason=" "),
    ):
        assert result.exit_code == 2
        assert "\x1b" not in result.stderr
    assert [entry.event for entry in log_of(loop)] == [Event.BACKFILLED]


def test_typed_text_cannot_control_the_terminal(loop: Settings) -> None:
    """The log keeps names and reasons unchanged; the output escapes them."""
    sha256 = log_backfill(loop, backfill_diff())
    approvals(loop).rule(statement(sha256, reason="\x1b[2J[red]\N{RIGHT-TO-LEFT OVERRIDE}gone"))
    for words in (["list"], ["diff", EPISODE]):
        text = run(loop, *words).stdout
        assert "\x1b" not in text
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in text
        assert "[red]" in text


def test_an_invalid_config_is_reported(tmp_path: Path) -> None:
    """With exit code 2."""
    (tmp_path / "truthloop.yaml").write_text("version: 1\n")
    result = CliRunner().invoke(app, ["backfill", "list", "--config", str(tmp_path / "truthloop.yaml")])
    assert result.exit_code == 2
    assert "error:" in result.stderr
