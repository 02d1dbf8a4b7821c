"""`truthloop retrain send`: sends the requests that are due, or with --dry-run prints them.

A dry run reads no secret: the requests have `***` in its place.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.base.figures import plain_text
from truthloop.terminal.console import note, print_json, reporting_errors, results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrain.target.exchange import Call, Target
    from schemas.config.retrain import RetrainConfig
    from schemas.events.retrain_request import RetrainRequest
    from truthloop.config.settings import Settings

__all__ = ["calls_of", "example_request", "send"]

MASK = "***"
EXAMPLE_ID = "rt-" + "0" * 32

HELP_ID = "A retrain, for --dry-run; default: the open ones."
HELP_DRY = "Print the requests with masked secrets, and send nothing; an example if no retrain is open."


def send(
    decision: Annotated[str | None, typer.Argument(metavar="[ID]", help=HELP_ID)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help=HELP_DRY)] = False,
    config: Annotated[Path, typer.Option("--config", "-c", metavar="FILE", help="The loop's config.")] = Path(
        "truthloop.yaml"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Send due requests and poll open runs, or print the requests.

    The feedback role does this by itself. Running both sends no recorded request twice.
    """
    if decision is not None and not dry_run:
        raise typer.BadParameter("an ID needs --dry-run; otherwise everything that is due is sent")
    with reporting_errors():
        from schemas.errors import ConfigError  # noqa: PLC0415 - keeps --help fast
        from truthloop.config.settings import load_settings  # noqa: PLC0415 - the same

        settings = load_settings(config)
        if settings.config.retrain is None:
            raise ConfigError("has no `retrain` section, so no retrain is requested", where=str(settings.path))
        if dry_run:
            _show(settings, settings.config.retrain, decision, as_json=as_json)
        else:
            _send(settings, as_json=as_json)


def calls_of(target: "Target", request: "RetrainRequest", at_s: int) -> "Iterator[Call]":
    """Yield the HTTP calls of a delivery, given the usual replies of the target.

    Args:
        target: with masked credentials.
        request: to deliver.
        at_s: the present, in seconds since 1970.
    """
    exchange = target.deliver(request.id, request.body(), at_s)
    try:
        call = next(exchange)
        while True:
            yield call
            call = exchange.send(call.usual)
    except StopIteration:
        return


def example_request(settings: "Settings", retrain: "RetrainConfig", at_ms: int) -> "RetrainRequest":
    """Return a request with `dry_run: true`, for a data set that does not exist.

    Args:
        settings: the loop's.
        retrain: the config's section.
        at_ms: the present.
    """
    from schemas.events.retrain_request import (  # noqa: PLC0415 - keeps --help fast
        RequestedDataset,
        RetrainData,
        RetrainFinding,
        RetrainRequest,
    )

    folder = settings.datasets.absolute() / EXAMPLE_ID
    kind = next(iter(settings.config.labels))
    found = RetrainFinding(kind="metric_loss", place="metric", subject=kind, text="An example: nothing was found.")
    data = RetrainData(
        loop=settings.config.loop,
        decision=EXAMPLE_ID,
        kind=kind,
        trigger=[found],
        evidence_at=at_ms,
        dataset=RequestedDataset(
            uri=folder.as_uri(),
            manifest_uri=(folder / "manifest.json").as_uri(),
            manifest_sha256="0" * 64,
            rows=0,
            holdout_rows=0,
            as_of=at_ms,
        ),
        current_version="example",
        callback_url=retrain.target.callback_url,
        dry_run=True,
    )
    return RetrainRequest.of(data, at_ms)


def _show(settings: "Settings", retrain: "RetrainConfig", decision: str | None, *, as_json: bool) -> None:
    from retrain.address_guard import check_url, parse_allowed  # noqa: PLC0415 - keeps --help fast
    from retrain.signing import Secret  # noqa: PLC0415 - the same
    from retrain.target.choice import choose_target  # noqa: PLC0415 - the same
    from truthloop.clock import now_ms  # noqa: PLC0415 - the same

    check_url(retrain.target.url, parse_allowed(retrain.target.allow))
    target = choose_target(retrain.target, Secret((bytes(24),)), lambda _name: MASK)
    requests = _requests(settings, retrain, decision)
    if not requests:
        note("No retrain is open: this is an example.")
        requests = [example_request(settings, retrain, now_ms())]
    documents = [
        {"decision": request.id, "calls": [_document(call) for call in calls_of(target, request, now_ms() // 1_000)]}
        for request in requests
    ]
    if as_json:
        print_json({"requests": documents})
        return
    for document in documents:
        _print(document)


def _print(request: "dict[str, Any]") -> None:
    """Print the HTTP calls of a request."""
    for number, call in enumerate(request["calls"], 1):
        title = f"# {request['decision']}, call {number} of {len(request['calls'])}: {call['purpose']}"
        results.print(title, markup=False)
        results.print(f"{call['method']} {call['url']}", markup=False)
        for name, value in call["headers"].items():
            results.print(f"{name}: {plain_text(value)}", markup=False)
        results.print(f"\n{plain_text(call['body'])}\n" if call["body"] else "", markup=False)


def _requests(settings: "Settings", retrain: "RetrainConfig", decision: str | None) -> "list[RetrainRequest]":
    """Return the request of one retrain, or of each open retrain that has a data set."""
    from dataclasses import replace  # noqa: PLC0415 - keeps --help fast

    from lake import Lake  # noqa: PLC0415 - the same
    from lake.storage.location import storage_at  # noqa: PLC0415 - the same
    from retrain.decision_log import DecisionLog  # noqa: PLC0415 - the same
    from retrain.gate import gate_of  # noqa: PLC0415 - the same
    from schemas.errors import ConfigError  # noqa: PLC0415 - the same
    from schemas.events.evidence import Event  # noqa: PLC0415 - the same
    from truthloop.feedback.deliveries import request_of  # noqa: PLC0415 - the same

    if decision is None and not storage_at(settings.lake).exists():
        return []
    lake = Lake.open(settings.lake)
    found = []
    for kind in settings.config.labels:
        entries = DecisionLog(lake, kind).entries()
        gate = gate_of(entries)
        wanted = gate.decision if decision is None else decision
        log = [entry for entry in entries if wanted is not None and entry.decision == wanted]
        if any(entry.event is Event.PREPARED for entry in log):
            found.append(request_of(retrain, entries, replace(gate, decision=wanted)))
        elif log and decision is not None:
            raise ConfigError("has no data set yet, so there is no request", where=decision)
    if not found and decision is not None:
        raise ConfigError("no such retrain", where=decision, hint="`truthloop retrain list` lists them.")
    return found


def _document(call: "Call") -> "dict[str, Any]":
    """Return a call as a JSON document; the signature is masked, too, because it is valid for minutes."""
    from retrain.sender import OWN_HEADERS  # noqa: PLC0415 - keeps --help fast

    headers = {**call.headers, **OWN_HEADERS}
    headers |= {name: f"v1,{MASK}" for name in headers if name == "webhook-signature"}
    return {
        "purpose": call.purpose,
        "method": call.method,
        "url": call.url,
        "headers": headers,
        "body": call.body.decode(),
    }


def _send(settings: "Settings", *, as_json: bool) -> None:
    import asyncio  # noqa: PLC0415 - keeps --help fast

    from lake import Lake  # noqa: PLC0415 - the same
    from retrain.log_entries import EntryOrigin  # noqa: PLC0415 - the same
    from truthloop.clock import now_ms  # noqa: PLC0415 - the same
    from truthloop.feedback.deliveries import Deliveries  # noqa: PLC0415 - the same
    from truthloop.feedback.endpoints import receiver_of  # noqa: PLC0415 - the same

    receiver = receiver_of(settings, os.environ)
    if receiver is None:
        return
    origins = EntryOrigin.all_of(settings.config)
    entries = asyncio.run(Deliveries(Lake.open(settings.lake), origins, receiver, now_ms).send_due())
    if as_json:
        print_json({"entries": [entry.model_dump(mode="json", exclude={"memory"}) for entry in entries]})
        return
    for entry in entries:
        results.print(f"{entry.decision}: {plain_text(entry.reason)}", markup=False)
    if not entries:
        note("Nothing is due, and no run has changed.")
