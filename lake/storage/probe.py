"""Asks a store whether it keeps the promise that everything rests on: of several who create a file, one succeeds.

Some stores ignore `If-None-Match`; some look at it, and let two requests at once both succeed. The first kind is found
by a repetition, the second only by a race.
"""

import secrets
import threading
from pathlib import Path
from typing import Final

from lake.storage.interface import Storage
from lake.storage.location import storage_at
from schemas.base.location import Location
from schemas.errors import LakeError

__all__ = ["PROBES", "check_store"]

PROBES: Final = ".probe"
"""Folder of the files that probes make; each deletes its own, and those of one that was killed."""

ABANDONED_AFTER_MS: Final = 3_600_000
"""Age of a file that is nobody's any more. Others may be probing at once: who deletes their file lets two create it."""

ROUNDS: Final = 6
RACERS: Final = 8
BYTES: Final = 1 << 20
"""Of a file: a store that looks first and writes then takes a while between the two.

Of S3Mock one round of a race found it in 45 % with 64 KiB on a busy machine, and in 40 of 40 with 1 MiB.
"""


def check_store(place: Location, abandoned_after_ms: int = ABANDONED_AFTER_MS) -> None:
    """Refuse a store that lets several create the same file.

    Args:
        abandoned_after_ms: age, by the store's clock, from which on another probe's file is deleted.

    Raises:
        LakeError: it does, or it cannot be asked.
    """
    if isinstance(place, Path):
        return
    storage = storage_at(place / PROBES)
    for number in range(ROUNDS):
        name = secrets.token_hex(16)
        try:
            _check_race(storage, name, place)
            if not number:
                _clear(storage, name, abandoned_after_ms)
        finally:
            storage.delete(name)


def _clear(storage: Storage, own: str, abandoned_after_ms: int) -> None:
    """Delete files that are so much older than one's own."""
    modified_ms = {file.path: file.modified_ms for file in storage.list()}
    for name, at_ms in modified_ms.items():
        if at_ms <= modified_ms[own] - abandoned_after_ms:
            storage.delete(name)


def _check_race(storage: Storage, name: str, place: Location) -> None:
    contents = [secrets.token_bytes(BYTES) for _ in range(RACERS)]
    start = threading.Barrier(RACERS)
    won: list[bytes] = []
    failed: list[BaseException] = []

    def race(content: bytes) -> None:
        try:
            start.wait()
            if storage.put_if_absent(name, content):
                won.append(content)
        except LakeError as error:
            failed.append(error)

    racers = [threading.Thread(target=race, args=(content,)) for content in contents]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    if failed:
        raise failed[0]
    if len(won) != 1 or storage.read(name) != won[0]:
        raise LakeError(
            f"the store let {len(won)} of {RACERS} writers create the same object, so two of them would lose rows",
            where=str(place),
            hint="Use a store whose conditional writes are atomic (PUT with If-None-Match: *), such as Amazon S3, "
            "MinIO or Cloudflare R2; nothing was written but the probe.",
        )
