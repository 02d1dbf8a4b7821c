"""`truthloop backfill`: what told the past anew, what it would change, and what a person rules about it."""

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.cli.local_user import local_user
from truthloop.terminal.console import note, print_json, reporting_errors, results
from truthloop.text.format import plain_text

if TYPE_CHECKING:
    from retrain.episode_status import EpisodeStatus
    from schemas.events.backfill import Verdict
    from schemas.events.backfill_diff import BackfillDiff
    from truthloop.config.settings import Settings

__all__ = ["WAITING", "backfill"]

WAITING = 3
"""Exit code of `list` while a backfill waits for a person."""

DIGEST_MIN = 12
"""Characters of a digest that are enough to name it."""

backfill = typer.Typer(
    name="backfill", help="What told the past anew, what it would change, and whether it counts.", no_args_is_help=True
)

Config = Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Id = Annotated[str, typer.Argument(metavar="ID", help="The backfill, as `truthloop backfill list` names it.")]
Digest = Annotated[
    str,
    typer.Option(
        "--diff", metavar="SHA256", help="Of the diff that you read, whole or its first 12 characters or more."
    ),
]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads the log.")]
CONFIG = Path("truthloop.yaml")


@backfill.command("list")
def list_(config: Config = CONFIG, as_json: Json = False) -> None:
    """List every backfill, what waits for a person first.

    Exit code 3: at least one waits. 0: none does.
    """
    with reporting_errors():
        from rich.text import Text  # noqa: PLC0415 - keeps --help fast

        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.evidence.approvals import approvals_of  # noqa: PLC0415 - the same
        from truthloop.terminal.tables import plain_table, print_table  # noqa: PLC0415 - the same
        from truthloop.text.format import moment, zone_of  # noqa: PLC0415 - the same
        from truthloop.text.rulings import state_words  # noqa: PLC0415 - the same

        settings = _settings(config)
        standings = approvals_of(settings, now_ms).standings()
        waiting = [one for one in standings if one.is_waiting]
        if as_json:
            print_json({"waiting": len(waiting), "backfills": [_document(one) for one in standings]})
        else:
            zone = zone_of(settings.config.timezone)
            table = plain_table("known since:", "kind:", "id:", "what:", "labels", "verdict:", "why:")
            for one in standings:
                cells = (
                    moment(one.episode.since, zone),
                    one.episode.kind,
                    one.episode.id,
                    ", ".join(one.episode.causes),
                    f"{one.episode.labels:,}",
                    "waits" if one.is_waiting else one.verdict.value,
                    one.why if one.ruled is None else state_words(one, zone),
                )
                table.add_row(*(Text(plain_text(cell)) for cell in cells))
            if table.row_count:
                print_table(table)
            note(f"{len(waiting):,} of {len(standings):,} backfills wait for a person.")
            for one in waiting[:1]:
                note(f"Next: truthloop backfill diff {one.episode.id}")
        if waiting:
            raise typer.Exit(WAITING)


@backfill.command()
def diff(
    episode: Id,
    config: Config = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Print the document that the SHA-256 is of.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as one file for a browser instead.")
    ] = None,
) -> None:
    """Show what a backfill changes: flips, coverage, metrics before and after, and what it affects.

    With --json it is the very bytes that the SHA-256 is of.
    """
    with reporting_errors():
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        from truthloop.terminal.backfill_report import report_text  # noqa: PLC0415 - keeps --help fast
        from truthloop.text.format import zone_of  # noqa: PLC0415 - the same
        from truthloop.text.rulings import state_words  # noqa: PLC0415 - the same

        if as_json and html is not None:
            raise typer.BadParameter("--json and --html are two forms of the same; take one")
        settings = _settings(config)
        standing, found = _read(settings, episode)
        state = state_words(standing, zone_of(settings.config.timezone))
        if as_json:
            sys.stdout.buffer.write(found.document())
            sys.stdout.buffer.flush()
            return
        if html is not None:
            html.write_text(_html_file(standing, found, state), "utf-8")
            note(f"It is in {escape(plain_text(str(html)))}.")
        else:
            width = shutil.get_terminal_size().columns
            sys.stdout.write(report_text(found, width, verdict=standing.verdict, reasons=(standing.why,)))
            results.print(plain_text(state), markup=False)
        if standing.is_waiting:
            digest = found.sha256()[:DIGEST_MIN]
            note("Next, one of:")
            for word in ("approve", "reject"):
                results.print(f"  truthloop backfill {word} {episode} --diff {digest} --reason TEXT", markup=False)


@backfill.command()
def approve(episode: Id, digest: Digest, reason: Reason, config: Config = CONFIG) -> None:
    """Let a backfill count. Cells, views and metrics are restated, and a retrain may be asked for.

    Who approves is written down as the user name of this machine: an attestation, not a proof. Exit code 1: it was not
    taken, because the diff has changed or it is decided already; nothing has changed then.
    """
    from schemas.events.backfill import Verdict  # noqa: PLC0415 - keeps --help fast

    _rule(episode, Verdict.APPROVED, digest, reason, config)


@backfill.command()
def reject(episode: Id, digest: Digest, reason: Reason, config: Config = CONFIG) -> None:
    """Let a backfill stand beside what counts, for good.

    Who rejects is written down as the user name of this machine: an attestation, not a proof. Exit code 1: it was not
    taken, because the diff has changed or it is decided already; nothing has changed then.
    """
    from schemas.events.backfill import Verdict  # noqa: PLC0415 - keeps --help fast

    _rule(episode, Verdict.REJECTED, digest, reason, config)


def _rule(episode: str, verdict: "Verdict", digest: str, reason: str, config: Path) -> None:
    with reporting_errors():
        from rich.markup import escape  # noqa: PLC0415 - keeps --help fast

        from retrain.approval import Person, RulingOutcome, Statement  # noqa: PLC0415 - the same
        from schemas.errors import ConfigError, TruthloopError  # noqa: PLC0415 - the same
        from truthloop.clock import now_ms  # noqa: PLC0415 - the same
        from truthloop.evidence.approvals import approvals_of  # noqa: PLC0415 - the same
        from truthloop.text.format import zone_of  # noqa: PLC0415 - the same
        from truthloop.text.rulings import ATTESTED, refusal_words  # noqa: PLC0415 - the same

        if len(digest) < DIGEST_MIN:
            raise typer.BadParameter(
                f"--diff has at least {DIGEST_MIN} characters: `truthloop backfill diff` shows them"
            )
        settings = _settings(config)
        approvals, user = approvals_of(settings, now_ms), local_user()
        standing = approvals.standing(episode)
        known = "" if standing is None else standing.diff_sha256
        whole = known if known.startswith(digest.lower()) else digest.lower()
        result = approvals.rule(Statement(episode, whole, verdict, reason, Person(user, "attested", "terminal")))
        if result.outcome is not RulingOutcome.DONE:
            what, hint = refusal_words(result, zone_of(settings.config.timezone))
            is_ours = result.outcome in (RulingOutcome.UNKNOWN, RulingOutcome.INCOMPLETE)
            error = ConfigError if is_ours else TruthloopError
            if result.outcome is RulingOutcome.CHANGED:
                hint = f"Read it: truthloop backfill diff {episode}"
            raise error(f"{plain_text(what)}. Nothing was changed.", where=plain_text(episode), hint=hint)
        note(f"{episode} is {verdict.value} by {escape(plain_text(user))} ({ATTESTED}).")
        note("The deciding role restates what it touches and judges. Without one: truthloop retrain evaluate")


def _settings(config: Path) -> "Settings":
    from truthloop.config.settings import load_settings  # noqa: PLC0415 - keeps --help fast

    return load_settings(config)


def _read(settings: "Settings", episode: str) -> "tuple[EpisodeStatus, BackfillDiff]":
    """Return where a backfill stands, and the diff that people are asked about."""
    from lake import Lake  # noqa: PLC0415 - keeps --help fast
    from schemas.errors import ConfigError  # noqa: PLC0415 - the same
    from truthloop.clock import now_ms  # noqa: PLC0415 - the same
    from truthloop.evidence.approvals import approvals_of, diff_of  # noqa: PLC0415 - the same
    from truthloop.evidence.diff_log import DiffLog  # noqa: PLC0415 - the same

    standing = approvals_of(settings, now_ms).standing(episode)
    if standing is None:
        hint = "`truthloop backfill list` names those there are."
        raise ConfigError("there is no such backfill", where=plain_text(episode), hint=hint)
    return standing, diff_of(DiffLog(Lake.open(settings.lake)), standing)


def _document(one: "EpisodeStatus") -> dict[str, object]:
    ruled = one.ruled
    return {
        "episode": one.episode.model_dump(mode="json"),
        "verdict": one.verdict.value,
        "waits": one.is_waiting,
        "diff_sha256": one.diff_sha256,
        "found_ms": one.found_ms,
        "why": one.why,
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


def _html_file(standing: "EpisodeStatus", found: "BackfillDiff", state: str) -> str:
    """Return the page of a backfill as a file that needs no other."""
    from truthloop.page.markup.backfill import render_backfill  # noqa: PLC0415 - keeps --help fast
    from truthloop.page.markup.page import asset  # noqa: PLC0415 - the same

    html = render_backfill(found, standing.verdict, (standing.why,), state=state)
    for linked, inside in (
        ('<link rel="stylesheet" href="../style.css">', f"<style>{asset('style.css').decode()}</style>"),
        ('<link rel="icon" href="../icon.svg" type="image/svg+xml">\n', ""),
        ('<a href="../">Truthloop</a>', "Truthloop"),
    ):
        html = html.replace(linked, inside, 1)
    return html
