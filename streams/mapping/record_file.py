"""Opens a file of predictions or labels: its format, its sha256, and the source map that covers it.

The sha256 is the file's identity in the lake: the same bytes under another name are the same records.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, Literal, cast

from schemas.config.mapping import SourceMap
from schemas.errors import InputError
from streams.columns.schema import Role
from streams.mapping.tools import MappingTools
from streams.readers.csv_rows import read_csv_header
from streams.readers.parquet import parquet_schema

__all__ = ["Form", "RecordFile", "open_record_file"]

Form = Literal["parquet", "csv", "jsonl"]

_SHA256_OF_NOTHING: Final = hashlib.sha256().hexdigest()

FORMS: Final[dict[str, Form]] = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
}


@dataclass(frozen=True)
class RecordFile:
    """One file that can be replayed.

    Attributes:
        sha256: hex, of the file's bytes as they are on disk.
        source: the map that covers it; None for a file in the canonical form.
        tools: hooks and redaction of its mapping, if it needs any.
    """

    path: Path
    sha256: str
    form: Form
    role: Role
    source: SourceMap | None
    tools: MappingTools | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the file has no bytes: it holds no records, and its sha256 is that of every such file."""
        return self.sha256 == _SHA256_OF_NOTHING


def open_record_file(
    path: Path, role: str | None, sources: Sequence[SourceMap], tools: MappingTools | None = None
) -> RecordFile:
    """Recognise a file and find the source map whose `files` matches its name.

    Args:
        path: the suffix determines the format.
        role: 'predictions' or 'labels'; None takes it from the source map.
        sources: the loop's `ingest`.
        tools: hooks and redaction of these sources.

    Raises:
        InputError: missing, a folder, empty (JSON lines may be), truncated, of an unknown suffix, covered by several
            maps, or by none and no role is given.
    """
    form = _form(path)
    source = _source(path, role, sources)
    if source is None and role not in ("predictions", "labels"):
        raise InputError(
            "no `files` pattern of `ingest` matches its name, so it is not known what it contains",
            where=str(path),
            hint="Use --predictions or --labels for a canonical file, or add a map under `ingest`.",
        )
    if form == "parquet":
        parquet_schema(path)
    elif form == "csv":
        read_csv_header(path)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    known_role = cast("Role", role) if source is None else source.as_
    return RecordFile(path=path, sha256=sha256, form=form, role=known_role, source=source, tools=tools)


def _form(path: Path) -> Form:
    name = path.name.lower()
    suffix = max((suffix for suffix in FORMS if name.endswith(suffix)), key=len, default="")
    if path.is_dir():
        raise InputError("this is a folder", where=str(path), hint="Name the files in it, for instance with a glob.")
    if not path.exists():
        raise InputError("there is no such file", where=str(path), hint="Check the path.")
    if not suffix:
        raise InputError(
            f"unknown suffix {path.suffix!r}", where=str(path), hint=f"Files may end in {', '.join(FORMS)}."
        )
    if path.stat().st_size == 0 and (FORMS[suffix] != "jsonl" or suffix.endswith(".gz")):
        raise InputError(
            "the file is empty",
            where=str(path),
            hint="Writing may have failed; write it again. Where there are no records, CSV and Parquet still have a "
            "header; only plain JSON lines may be empty.",
        )
    return FORMS[suffix]


def _source(path: Path, role: str | None, sources: Sequence[SourceMap]) -> SourceMap | None:
    matching = [
        source
        for source in sources
        if source.files is not None and fnmatchcase(path.name, source.files) and (role is None or source.as_ == role)
    ]
    if len(matching) > 1:
        patterns = ", ".join(f"{source.files!r} (as {source.as_})" for source in matching)
        raise InputError(
            f"several maps cover it: {patterns}",
            where=str(path),
            hint="Change the `files` patterns of `ingest` so that only one matches.",
        )
    return matching[0] if matching else None
