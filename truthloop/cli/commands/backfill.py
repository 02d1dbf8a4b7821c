"""`truthloop backfill`: lists backfills, shows their diffs, and rules about them."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.base.figures import plain_text
from truthloop.cli.selection import local_user
from truthloop.terminal.console import note, print_json, reporting_errors, results, warn

if TYPE_CHECKING:
    from retrain.episode_status import EpisodeStatus
    from schemas.events.backfill import Verdict
    from schemas.events.backfill_diff import BackfillDiff
    from truthloop.config.settings import Settings

__all__ = ["WAITING", "backfill"]

WAITING = 3
"""Exit code of `list` while a backfill waits for a ruling."""

DIGEST_MIN = 12
"""Characters that are enough to identify a digest."""

backfill = typer.Typer(
    name="backfill",
    help="List backfills, show their diffs, approve or reject them.",
    no_args_is_help=True,
)

Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The backfill's id, from `truthloop backfill list`.")]
Digest = Annotated[
    str,
    typer.Option(
        "--diff",
        metavar="SHA256",
        help="Digest of the diff that you read: all of it, or at least its first 12 characters.",
    ),
]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the log.")]
CONFIG = Path("truthloop.yaml")


@backfill.command("list")
def list_(config: Config = CONFIG, as_json: Json = False) -> None:
    """List all backfills, those that wait for a ruling first.

    Exit code 3: at least one waits. 0: none does.
    """
    with reporting_errors():
        from rich.text import Text  # noqa: PLC0415 - keeps --help fast

        from schemas.base.figures import moment, zone_of  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.evidence.approvals import open_approvals  # noqa: PLC0415 - the same
        from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - the same
        from truthloop.text.rulings import status_text  # noqa: PLC0415 - the same

        settings = _settings(config)
        statuses = open_approvals(settings, now_ms).statuses()
        waiting = [status for status in statuses if status.is_waiting]
        if as_json:
            print_json({"waiting": len(waiting), "backfills": [_document(status) for status in statuses]})
        else:
            zone = zone_of(settings.config.timezone)
            table = plain_table("known since:", "kind:", "id:", "what:", "labels", "verdict:", "why:")
            for status in statuses:
                cells = (
                    moment(status.episode.since, zone),
                    status.episode.kind,
                    status.episode.id,
                    ", ".join(status.episode.causes),
                    f"{status.episode.labels:,}",
                    "waits" if status.is_waiting else status.verdict.value,
                    status.why if status.ruled is None else status_text(status, zone),
                )
                table.add_row(*(Text(plain_text(cell)) for cell in cells))
            if table.row_count:
                print_table(table)
            note(f"{len(waiting):,} of {len(statuses):,} backfills wait for a ruling.")
            for status in waiting[:1]:
                note(f"Next: truthloop backfill diff {status.episode.id}")
        if waiting:
            raise typer.Exit(WAITING)


@backfill.command()
def diff(
    episode: Id,
    config: Config = CONFIG,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the JSON document whose SHA-256 is the digest.")
    ] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write it as one HTML file instead.")] = None,
) -> None:
    """Show the diff of a backfill. It has flips, coverage and metrics before and after, and the affected retrains.

    --json prints exactly the bytes whose SHA-256 is the digest.
    """
    with reporting_errors():
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        from truthloop.evidence.approvals import state_text  # noqa: PLC0415 - the same
        from truthloop.terminal.backfill_report import report_text  # noqa: PLC0415 - the same

        if as_json and html is not None:
            raise typer.BadParameter("--json and --html cannot both be given")
        settings = _settings(config)
        status, found = _read(settings, episode)
        if as_json:
            sys.stdout.buffer.write(found.document())
            sys.stdout.buffer.flush()
            return
        sentence = state_text(settings, status)
        if html is not None:
            html.write_text(_html_file(status, found, sentence), "utf-8")
            note(f"Written to {escape(plain_text(str(html)))}.")
        else:
            width = shutil.get_terminal_size().columns
            sys.stdout.write(report_text(found, width, verdict=status.verdict, reasons=(status.why,)))
            results.print(plain_text(sentence), markup=False)
        if status.is_waiting:
            digest = found.sha256()[:DIGEST_MIN]
            note("Next, one of:")
            for command in ("approve", "reject"):
                results.print(f"  truthloop backfill {command} {episode} --diff {digest} --reason TEXT", markup=False)


@backfill.command()
def approve(episode: Id, digest: Digest, reason: Reason, config: Config = CONFIG) -> None:
    """Approve a backfill: it counts. Cells, views and metrics are restated, and a retrain may be asked for.

    The log records this machine's user name: an attestation, not a proof. Exit code 1: the ruling was refused, because
    the diff has changed or the backfill is decided already; nothing has changed then.
    """
    from schemas.events.backfill import Verdict  # noqa: PLC0415 - keeps --help fast

    _rule(episode, Verdict.APPROVED, digest, reason, config)


@backfill.command()
def reject(episode: Id, digest: Digest, reason: Reason, config: Config = CONFIG) -> None:
    """Reject a backfill: it never counts, and the join withdraws its labels. The lake keeps them.

    The log records this machine's user name: an attestation, not a proof. Exit code 1: the ruling was refused, because
    the diff has changed or the backfill is decided already; nothing has changed then.
    """
    from schemas.events.backfill import Verdict  # noqa: PLC0415 - keeps --help fast

    _rule(episode, Verdict.REJECTED, digest, reason, config)


def _rule(episode: str, verdict: "Verdict", digest: str, reason: str, config: Path) -> None:
    with reporting_errors():
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        from retrain.approval import Person, RulingOutcome, RulingRequest  # noqa: PLC0415 - the same
        from schemas.base.figures import zone_of  # noqa: PLC0415 - the same
        from schemas.errors import ConfigError, TruthloopError  # noqa: PLC0415 - the same
        from schemas.events.backfill import Verdict  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.evidence.approvals import open_approvals  # noqa: PLC0415 - the same
        from truthloop.text.rulings import ATTESTED, refusal_text  # noqa: PLC0415 - the same

        if len(digest) < DIGEST_MIN:
            raise typer.BadParameter(
                f"--diff needs at least {DIGEST_MIN} characters of the digest that `truthloop backfill diff` shows"
            )
        settings = _settings(config)
        approvals, user = open_approvals(settings, now_ms), local_user()
        status = approvals.status(episode)
        known = "" if status is None else status.diff_sha256
        whole = known if known.startswith(digest.lower()) else digest.lower()
        result = approvals.rule(RulingRequest(episode, whole, verdict, reason, Person(user, "attested", "terminal")))
        if result.outcome is not RulingOutcome.DONE:
            what, hint = refusal_text(result, zone_of(settings.config.timezone))
            is_usage_error = result.outcome in (RulingOutcome.UNKNOWN, RulingOutcome.INCOMPLETE)
            error = ConfigError if is_usage_error else TruthloopError
            if result.outcome is RulingOutcome.CHANGED:
                hint = f"Read it: truthloop backfill diff {episode}"
            raise error(f"{plain_text(what)}. Nothing was changed.", where=plain_text(episode), hint=hint)
        note(f"{episode} is {verdict.value} by {escape(plain_text(user))} ({ATTESTED}).")
        if verdict is Verdict.APPROVED:
            _say_what_it_brings(settings, approvals.status(episode))
        note("The feedback role restates the metrics and evaluates. Without that role: truthloop retrain evaluate")
        if verdict is Verdict.REJECTED:
            note(
                "Its labels are withdrawn by the running join, or by the next `truthloop replay` (no files are needed)."
            )


def _say_what_it_brings(settings: "Settings", status: "EpisodeStatus | None") -> None:
    """Say what of an approved backfill a data set of now has; a lake that cannot be read changes no approval."""
    from schemas.errors import LakeError  # noqa: PLC0415 - the same
    from truthloop.evidence.approved_rows import approved_rows_now  # noqa: PLC0415 - the same
    from truthloop.text.rulings import training_text  # noqa: PLC0415 - the same

    try:
        rows = None if status is None else approved_rows_now(settings, status)
    except LakeError as error:
        warn(plain_text(str(error)))
        return
    if rows is not None:
        note(training_text(rows, is_waiting=False))


def _settings(config: Path) -> "Settings":
    from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

    return load_settings(config)


def _read(settings: "Settings", episode: str) -> "tuple[EpisodeStatus, BackfillDiff]":
    """Return the status of a backfill and the diff to rule about."""
    from lake import Lake  # noqa: PLC0415 - keeps --help fast
    from schemas.errors import ConfigError  # noqa: PLC0415 - the same
    from truthloop.clock import now_ms  # noqa: PLC0415 - the same
    from truthloop.evidence.approvals import find_diff, open_approvals  # noqa: PLC0415 - the same
    from truthloop.evidence.diff_log import DiffLog  # noqa: PLC0415 - the same

    status = open_approvals(settings, now_ms).status(episode)
    if status is None:
        hint = "`truthloop backfill list` lists them."
        raise ConfigError("there is no such backfill", where=plain_text(episode), hint=hint)
    return status, find_diff(DiffLog(Lake.open(settings.lake)), status)


def _document(status: "EpisodeStatus") -> dict[str, object]:
    ruled = status.ruled
    return {
        "episode": status.episode.model_dump(mode="json"),
        "verdict": status.verdict.value,
        "waits": status.is_waiting,
        "diff_sha256": status.diff_sha256,
        "found_ms": status.found_ms,
        "why": status.why,
        "ruled": None
        if ruled is None
        else {
            "by": ruled.by,
            "by_source": "proxy" if ruled.is_proved else "attested",
            "via": ruled.via,
            "at_ms": ruled.at_ms,
            "reason": ruled.reason,
        },
    }


def _html_file(status: "EpisodeStatus", found: "BackfillDiff", sentence: str) -> str:
    """Return the page of a backfill as a self-contained HTML file."""
    from truthloop.page.markup.backfill import render_backfill  # noqa: PLC0415 - keeps --help fast
    from truthloop.page.markup.page import asset  # noqa: PLC0415 - the same

    html = render_backfill(found, status.verdict, (status.why,), state=sentence)
    for linked, inside in (
        ('<link rel="stylesheet" href="../style.css">', f"<style>{asset('style.css').decode()}</style>"),
        ('<link rel="icon" href="../icon.svg" type="image/svg+xml">\n', ""),
        ('<a href="../">Truthloop</a>', "Truthloop"),
    ):
        html = html.replace(linked, inside, 1)
    return html
