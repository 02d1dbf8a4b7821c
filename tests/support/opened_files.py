"""Counts the data files that scans of a lake are given: those that Delta's statistics do not leave out."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from lake import store
from lake.scan import Bounds, scan_files

__all__ = ["opened_files"]


@contextmanager
def opened_files() -> Iterator[Counter[str]]:
    """Count by table; a file that is scanned twice counts twice."""
    opened: Counter[str] = Counter()

    def counted(folder: Path, files: pl.DataFrame, schema: pl.Schema, within: Mapping[str, Bounds]) -> pl.LazyFrame:
        opened[folder.name] += files.height
        return scan_files(folder, files, schema, within)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "scan_files", counted)
        yield opened
