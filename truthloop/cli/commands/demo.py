"""`truthloop demo`: a year of real flights through the whole product, and its result explained."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from truthloop.terminal.console import note, notes, print_json, reporting_errors

if TYPE_CHECKING:
    from truthloop.config.settings import Settings
    from truthloop.demo.live import LiveRun
    from truthloop.demo.prepare import Prepared
    from truthloop.demo.summary import Summary
    from truthloop.evidence.conservation import Conservation

__all__ = ["demo"]

MARKER = ".truthloop-demo"
CLOSED_AT = "2014-01-03T00:00:00Z"
"""Past the deadline of the last flight of 2013: a flight without a label by then never gets one."""


def demo(
    folder: Annotated[Path, typer.Option(help="Folder of the demo's files; an earlier demo in it is replaced.")] = Path(
        "demo-out"
    ),
    bootstrap_servers: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Use this Kafka; delete topics of an earlier demo first."),
    ] = None,
    without_kafka: Annotated[
        bool,
        typer.Option(
            "--without-kafka",
            help="Without a broker: one process replays the files through the same mapping, join and lake.",
        ),
    ] = False,
    serve: Annotated[
        bool | None,
        typer.Option(
            "--serve/--no-serve",
            help="Keep serving the page at the end, until Ctrl-C; default: if stdin is a terminal.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a year of real flights through the whole product. It starts its own Kafka, and explains the result.

    A small model predicts, two hours before departure, whether a flight out of New York in 2013 will be more than 15
    minutes late. The label is known when the plane has arrived; cancelled and diverted flights never get one. The roles
    ingest, join, lake and feedback run as processes, and so does the airline: when the model's error rises, its
    pipeline is asked to retrain, trains on the data set of the request and deploys the new model.
    """
    with reporting_errors():
        from truthloop.demo.prepare import prepare  # noqa: PLC0415 - keeps --help fast
        from truthloop.demo.report import demo_document, print_demo  # noqa: PLC0415 - the same

        if without_kafka and bootstrap_servers is not None:
            raise typer.BadParameter("--without-kafka and --bootstrap-servers exclude each other")
        started = time.perf_counter()
        if without_kafka:
            note(f"This writes about 350 MB into {folder}: data files, a config, the lake.")
            note("It joins the same records and shows the same metrics; Kafka, retrains and backfills are left out.")
        else:
            note(f"This writes about 600 MB into {folder}: data files, a config, a Kafka's log, the lake.")
        _take_folder(folder)
        with notes.console.status("preparing the flights ...") as status:
            prepared = prepare(folder, lambda step, _done, _steps: status.update(f"{step} ..."))
        with (
            _kafka(folder, bootstrap_servers) if not without_kafka else nullcontext() as servers,
            _running(prepared, servers) as (settings, run),
        ):
            conservation, summary = _read_back(settings)
            seconds = {"total": time.perf_counter() - started, "live": run.seconds}
            result = run, conservation, summary
            if as_json:
                print_json(demo_document(prepared, result, seconds))
            else:
                way = "from files, by one process" if without_kafka else "through Kafka, by four roles"
                print_demo(prepared, result, seconds, way)
            if not without_kafka and (sys.stdin.isatty() and not as_json if serve is None else serve):
                _serve(settings)
        if not conservation.holds:
            for violation in conservation.violations:
                notes.print(f"[bold red]an accounting identity does not hold:[/] {violation}")
            raise typer.Exit(1)


@contextmanager
def _kafka(folder: Path, bootstrap_servers: str | None) -> Iterator[str]:
    """Yield the bootstrap servers of the named Kafka, or of the demo's own, which runs while the block does."""
    if bootstrap_servers is not None:
        yield bootstrap_servers
        return
    from schemas.errors import BrokerError  # noqa: PLC0415 - keeps --help fast
    from truthloop.broker.jars import cache_folder, missing_jars  # noqa: PLC0415 - keeps --help fast
    from truthloop.broker.local_broker import LocalBroker  # noqa: PLC0415 - the same
    from truthloop.broker.program import is_prepared, prepare_kafka  # noqa: PLC0415 - the same

    try:
        if not is_prepared():
            size = sum(jar.size for jar in missing_jars(cache_folder())) / 1e6
            note(f"Downloads Apache Kafka 4.1, once: {size:.0f} MB from Maven Central into {cache_folder()}.")
            with notes.console.status("downloading Kafka and preparing its start ..."):
                prepare_kafka()
        with notes.console.status("starting Kafka ..."):
            broker = LocalBroker(folder / "kafka")
            broker.start()
    except BrokerError:
        note("`truthloop demo --without-kafka` shows the same results from files.")
        raise
    try:
        yield broker.bootstrap_servers
    finally:
        broker.stop()


def _take_folder(folder: Path) -> None:
    """Create the demo's folder, or delete an earlier demo in it; a folder with other files is refused."""
    from schemas.errors import InputError  # noqa: PLC0415 - keeps --help fast

    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise InputError(
            "the folder has files that are not the demo's", where=str(folder), hint="Choose another --folder."
        )
    for earlier in ("lake", "state", "kafka", "datasets"):
        shutil.rmtree(folder / earlier, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()


@contextmanager
def _running(prepared: "Prepared", servers: str | None) -> "Iterator[tuple[Settings, LiveRun]]":
    """Run the flights through Kafka, or from their files; yield the result while the roles still run."""
    from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same
    from truthloop.demo.environment import demo_environment  # noqa: PLC0415 - keeps --help fast
    from truthloop.demo.live import run_files, running_live  # noqa: PLC0415 - the same
    from truthloop.terminal.instants import parse_instant_ms  # noqa: PLC0415 - the same
    from truthloop.terminal.progress import progress_bar  # noqa: PLC0415 - the same

    close_at_ms = parse_instant_ms(CLOSED_AT, "close")
    if servers is None:
        settings = load_settings(prepared.config)
        yield settings, run_files(settings, prepared, close_at_ms=close_at_ms)
        return
    os.environ |= demo_environment(servers)  # also for the roles and the company, which read the same config
    settings = load_settings(prepared.config)
    with ExitStack() as shown:
        bar = shown.enter_context(progress_bar(None))
        live = running_live(settings, close_at_ms=close_at_ms, report=lambda joined: bar.joined(joined, None))
        with live as run:
            shown.close()
            yield settings, run


def _read_back(settings: "Settings") -> "tuple[Conservation, Summary]":
    """Return the check of both accounting identities, and the figures to show, from the lake."""
    from lake import Lake, connect  # noqa: PLC0415 - keeps --help fast
    from truthloop.demo.summary import summarise  # noqa: PLC0415 - the same
    from truthloop.evidence.cells import read_evidence  # noqa: PLC0415 - the same
    from truthloop.evidence.conservation import check_conservation  # noqa: PLC0415 - the same

    evidence = read_evidence(settings)
    definitions = {kind: label.definition for kind, label in settings.config.labels.items()}
    conservation = check_conservation(Lake.open(settings.lake), definitions)
    with connect(settings.lake) as views:
        return conservation, summarise(views, evidence)


def _serve(settings: "Settings") -> None:
    """Wait for Ctrl-C while the roles serve the page."""
    from threading import Event  # noqa: PLC0415 - needed here only

    note(f"The page is at http://127.0.0.1:{settings.config.http.port}/ until Ctrl-C.")
    with suppress(KeyboardInterrupt):
        Event().wait()
