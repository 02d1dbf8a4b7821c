"""`truthloop webhook`: a receiver that prints the retrain requests of a loop, to develop a pipeline against.

For development only: without --save it forgets the requests when it stops.
"""

import json
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.base.figures import plain_text
from truthloop.terminal.console import note, reporting_errors, results

if TYPE_CHECKING:
    from random import Random

    from aiohttp import web

    from retrain.signing import Secret
    from schemas.events.retrain_request import RetrainRequest

__all__ = ["Inbox", "Receipt", "listen", "webhook"]

SECRET_VARIABLE = "TRUTHLOOP_WEBHOOK_SECRET"  # noqa: S105 - the name of the variable that holds it
BODY_BYTES_MAX = 64 * 1_024
IDS_MAX = 100_000
"""Ids in memory; the oldest is dropped first."""

HELP_SECRET = "Environment variable of the secret; NAME_FILE may name a file with it."  # noqa: S105 - a text
HELP_SAVE = "Save each request there as ID.json; saved ones count as repeats."
HELP_SHARE = "Answer 503 to this share of the signed requests, to see retries."

webhook = typer.Typer(
    name="webhook",
    help="Try the webhook that asks for a retrain.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@webhook.callback()
def _group() -> None:
    """Keep `listen` a subcommand, although it is the only one."""


@webhook.command()
def listen(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: a free port.")] = 9000,
    secret_env: Annotated[str, typer.Option(metavar="NAME", help=HELP_SECRET)] = SECRET_VARIABLE,
    save: Annotated[Path | None, typer.Option(metavar="FOLDER", help=HELP_SAVE)] = None,
    fail_share: Annotated[float, typer.Option(min=0.0, max=1.0, help=HELP_SHARE)] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """Receive retrain requests on this machine, for development, and print a line for each.

    Answers 200 to a signed request, also to a repeated one, and 401 to a wrong signature. Ctrl-C stops it.
    """
    with reporting_errors():
        import asyncio  # noqa: PLC0415 - keeps --help fast
        from random import Random  # noqa: PLC0415 - the same

        from retrain.signing import read_secret  # noqa: PLC0415 - the same

        inbox = Inbox(read_secret(secret_env, os.environ), _folder(save), fail_share, Random())  # noqa: S311 - no secret
        asyncio.run(_serve(inbox, port, as_json=as_json))


@dataclass(frozen=True, slots=True)
class Receipt:
    """A received request and its answer.

    Attributes:
        status: HTTP status of the answer.
        is_signed: whether the signature is valid.
        is_repeat: whether the id was received before.
        reason: why the request is refused; empty if it is accepted.
        request: None if it could not be parsed.
    """

    status: int
    is_signed: bool = False
    is_repeat: bool = False
    reason: str = ""
    request: "RetrainRequest | None" = None

    def as_line(self) -> str:
        """Return it as a line of printable text."""
        from retrain.dataset_rows import approved_texts  # noqa: PLC0415 - keeps --help fast

        parts = [str(self.status), "signature right" if self.is_signed else "signature wrong"]
        if self.request is not None:
            data = self.request.data
            parts += [self.request.id, ", ".join(dict.fromkeys(finding.kind for finding in data.trigger))]
            holdout = data.dataset.holdout_rows
            rows = f"{data.dataset.rows:,} rows" + ("" if holdout is None else f" and {holdout:,} holdout rows")
            parts += [f"{rows} at {data.dataset.uri}", *(["dry run"] if data.dry_run else [])]
            parts += approved_texts(data.dataset.approved)
        parts += ["seen before"] if self.is_repeat else []
        parts += [self.reason] if self.reason else []
        return plain_text("  ".join(parts))

    def as_object(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        return {
            "status": self.status,
            "signed": self.is_signed,
            "repeat": self.is_repeat,
            "reason": self.reason or None,
            "request": None if self.request is None else self.request.model_dump(mode="json"),
        }


@dataclass(slots=True)
class Inbox:
    """Verifies requests and remembers their ids.

    Attributes:
        secret: a request may be signed with any of its keys.
        folder: of saved requests; None: they are not saved.
        fail_share: share of the signed requests to answer with 503, from 0 to 1.
        rng: chooses them.
    """

    secret: "Secret"
    folder: Path | None
    fail_share: float
    rng: "Random"
    _ids: dict[str, None] = field(default_factory=dict)

    def take(self, headers: Mapping[str, str], body: bytes, now_s: int) -> Receipt:
        """Verify one request, and save it if it is new.

        Args:
            headers: of the request.
            body: of the request.
            now_s: the present, in seconds since 1970.
        """
        from pydantic import ValidationError  # noqa: PLC0415 - keeps --help fast

        from retrain.signing import SignatureError, verify  # noqa: PLC0415 - the same
        from schemas.events.retrain_request import RetrainRequest  # noqa: PLC0415 - the same

        try:
            signed = verify(headers, body, self.secret, now_s)
        except SignatureError as error:
            return Receipt(401, reason=error.what)
        try:
            request = RetrainRequest.model_validate_json(body)
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False, include_input=False)
            field = ".".join(str(part) for part in first["loc"])
            return Receipt(400, is_signed=True, reason=f"not a retrain request: {field or 'the body'}: {first['msg']}")
        if signed.id != request.id:
            return Receipt(400, is_signed=True, reason="webhook-id is not the id of the body", request=request)
        is_repeat = self._has(request.id)
        if self.rng.random() < self.fail_share:
            return Receipt(503, is_signed=True, is_repeat=is_repeat, reason="failed as you asked", request=request)
        if not is_repeat:
            self._keep(request.id, body)
        return Receipt(200, is_signed=True, is_repeat=is_repeat, request=request)

    def _has(self, id_: str) -> bool:
        return id_ in self._ids or (self.folder is not None and (self.folder / f"{id_}.json").exists())

    def _keep(self, id_: str, body: bytes) -> None:
        if self.folder is not None:
            part = self.folder / f".{id_}.part"
            part.write_bytes(body)
            part.replace(self.folder / f"{id_}.json")
        self._ids[id_] = None
        if len(self._ids) > IDS_MAX:
            del self._ids[next(iter(self._ids))]


def _folder(save: Path | None) -> Path | None:
    from schemas.errors import InputError  # noqa: PLC0415 - keeps --help fast

    if save is not None:
        try:
            save.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"the folder cannot be created: {error.strerror}", where=str(save)) from None
    return save


async def _serve(inbox: Inbox, port: int, *, as_json: bool) -> None:
    """Answer requests until SIGINT or SIGTERM."""
    import asyncio  # noqa: PLC0415 - keeps --help fast

    from aiohttp import web  # noqa: PLC0415 - the same

    from schemas.errors import InputError  # noqa: PLC0415 - the same

    async def take(request: "web.Request") -> "web.Response":
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            receipt = Receipt(413, reason=f"more than {BODY_BYTES_MAX} bytes")
        else:
            receipt = inbox.take(request.headers, body, int(time.time()))
        line = json.dumps(receipt.as_object(), ensure_ascii=True) if as_json else receipt.as_line()
        results.print(line, markup=False)
        return web.Response(status=receipt.status)

    application = web.Application(client_max_size=BODY_BYTES_MAX)
    application.router.add_post("/{path:.*}", take)
    runner = web.AppRunner(application, access_log=None)
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        try:
            await site.start()
        except OSError as error:
            raise InputError(f"cannot listen on this port: {error.strerror}", where=f"127.0.0.1:{port}") from None
        bound = runner.addresses[0][1]
        note(f"Listens at http://127.0.0.1:{bound}, for development. The config must allow 127.0.0.1:{bound}.")
        note("Ctrl-C stops it.")
        await stopped.wait()
        note("Stopped.")
    finally:
        await runner.cleanup()
