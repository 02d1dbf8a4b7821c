"""Opening files: which are recognised, which are refused with what message, and how broken files behave.

Covers `streams.readers.csv_rows`, `streams.readers.column_path`.
"""

import gzip
import hashlib
from pathlib import Path

import polars as pl
import pytest
from mapping_case import loop, map_file, reasons, source_map, write_records

from schemas.config.loop import LoopConfig
from schemas.errors import InputError
from streams.mapping.mapper import Mapper
from streams.mapping.record_file import open_record_file
from streams.readers.text_lines import BLOCK_BYTES, MAX_LINE_BYTES, read_lines

GOOD = {"key": "k", "time": 1_000_000_000_005, "version": "v"}


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.parquet", "parquet"), ("a.csv", "csv"), ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"),
        ("A.CSV", "csv"), ("a.csv.gz", "csv"), ("a.jsonl.gz", "jsonl"), ("a.ndjson.gz", "jsonl"),
    ],
)  # fmt: skip
def test_every_suffix_opens_and_maps(tmp_path: Path, name: str, form: str) -> None:
    """The form follows from the suffix, gzipped or not; sha256 is of the bytes on disk."""
    plain = write_records(tmp_path / f"plain.{form}", [GOOD])
    content = plain.read_bytes()
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    file = open_record_file(path, "predictions", [])
    assert (file.form, file.role, file.source) == (form, "predictions", None)
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert map_file(path, "predictions", loop()).records["key"].to_list() == ["k"]


def test_a_wide_csv_is_read_in_chunks_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its rows keep their numbers; the width alone decides how many are read at once."""
    monkeypatch.setattr("streams.readers.csv_rows.CELLS_PER_CHUNK", 50)
    names = ["key", "time", "version", *(f"features.f{at}" for at in range(17))]
    rows = [[f"k{at}", "1e12", "v", *(["1"] * 17)] for at in range(7)]
    (tmp_path / "a.csv").write_text("".join(",".join(row) + "\n" for row in [names, *rows]))
    chunks = list(Mapper(open_record_file(tmp_path / "a.csv", "predictions", []), loop()).chunks(1))
    assert [chunk.records["row"].to_list() for chunk in chunks] == [[1, 2], [3, 4], [5, 6], [7]]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson"])
def test_an_empty_file_of_json_lines_has_no_records(tmp_path: Path, name: str) -> None:
    """A night without predictions."""
    (tmp_path / name).write_bytes(b"")
    file = open_record_file(tmp_path / name, "predictions", [])
    assert file.is_empty
    assert list(Mapper(file, loop()).chunks()) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.csv", None, "no such file"),
        ("a.txt", b"x", "unknown suffix"),
        ("a.parquet.gz", b"x", "unknown suffix"),
        ("a.csv", b"", "empty"),
        ("a.parquet", b"", "empty"),
        ("a.jsonl.gz", b"", "empty"),
        ("a.parquet", b"PAR1 and no footer", "not a whole Parquet file"),
        ("a.csv", b"key,time,key\n", "'key' twice"),
        ("a.csv", b"\xff,time\n", "no CSV header"),
        ("a.csv", b"\n", "no CSV header"),
    ],
)
def test_unusable_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    """The error gives the path, the fault, and what to do."""
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        open_record_file(path, "predictions", [])
    assert caught.value.where == str(path)
    assert caught.value.hint


def test_folder_is_refused(tmp_path: Path) -> None:
    """A folder is not read as if it were all its files."""
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match="folder"):
        open_record_file(tmp_path / "a.csv", "predictions", [])


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    """A copy that lost its end has no footer."""
    path = write_records(tmp_path / "a.parquet", [GOOD])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole Parquet file"):
        open_record_file(path, "predictions", [])


def test_truncated_gzip_is_refused_while_reading(tmp_path: Path) -> None:
    """The readable part is not mistaken for the whole file."""
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"key":"k","time":1000000000005,"version":"v"}\n' * 1000)[:-12])
    with pytest.raises(InputError, match="read to its end"):
        map_file(path, "predictions", loop())


def test_source_is_chosen_by_pattern_and_role(tmp_path: Path) -> None:
    """The map whose `files` matches is used; a role narrows the choice; two matches are refused by name."""
    path = write_records(tmp_path / "scores-1.jsonl", [GOOD])
    scores = source_map(files="scores-*")
    labels = source_map(files="scores-*", kind="fraud", map={"key": "k", "time": "t", "value": "v"}, **{"as": "labels"})
    other = source_map(files="other-*")
    assert open_record_file(path, None, [other, scores]).source is scores
    assert open_record_file(path, "labels", [scores, labels]).source is labels
    assert open_record_file(path, "predictions", [other]).source is None
    with pytest.raises(InputError, match=r"'scores-\*' \(as predictions\), 'scores-\*' \(as labels\)"):
        open_record_file(path, None, [scores, labels])
    with pytest.raises(InputError, match="no `files` pattern") as caught:
        open_record_file(path, None, [other])
    assert "--predictions or --labels" in caught.value.hint


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_missing_column_names_the_nearest(tmp_path: Path, suffix: str) -> None:
    """A typo in a path is reported before anything is read."""
    path = write_records(tmp_path / f"a.{suffix}", [{"transaction": "k", "t": 1_000_000_000_001}])
    source = source_map(map={"key": "transction", "time": {"path": "t", "unit": "ms"}})
    with pytest.raises(InputError, match=r"no column 'transction'(.|\n)*'transaction'"):
        Mapper(open_record_file(path, None, [source]), loop())


@pytest.mark.parametrize("name", ['a"b', "a\nb", "^k.*$", "*", "a.b.c", "", "x" * 5_000, "k'; DROP", "{}", "schlüssel"])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_hostile_column_names_are_plain_names(tmp_path: Path, name: str, suffix: str) -> None:
    """Names are looked up exactly, whatever they contain; the same column maps in every format."""
    path = write_records(tmp_path / f"a.{suffix}", [{"other": "no", "k": "yes", name: "yes", "t": 1_000_000_000_001}])
    mapped = name if name not in ("", "*") else "k"  # a config cannot map those two, but a file may have them
    source = source_map(map={"key": mapped, "time": {"path": "t", "unit": "ms"}})
    assert map_file(path, None, loop(), [source]).records["key"].to_list() == ["yes"]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_hostile_names_of_nested_fields_are_plain_names(tmp_path: Path, suffix: str) -> None:
    """A name that looks like a pattern is a literal name."""
    records = [{"a": {"k1": "no", "^k.*$": "yes", "*": "no"}, "t": 1_000_000_000_001}]
    source = source_map(map={"key": "a.^k.*$", "time": {"path": "t", "unit": "ms"}})
    chunk = map_file(write_records(tmp_path / f"a.{suffix}", records), None, loop(), [source])
    assert chunk.records["key"].to_list() == ["yes"]


HUGE = b"x" * (MAX_LINE_BYTES + 1)
CSV_CASES = [
    ("two fields too many", b"key,time,version\nk,1e12,v,9,9\nl,2e12,v\n", ["l"], [(1, "not_an_object")]),
    ("one field too few", b"key,time,version\nk,1e12\nl,2e12,v\n", ["l"], [(1, "not_an_object")]),
    ("quoted newline counts as one record", b'key,time,version\n"a\nb",1e12,v\nm,x,v\n', ["a\nb"], [(2, "bad_time")]),
    ("CRLF and BOM", b"\xef\xbb\xbfkey,time,version\r\nk,1e12,v\r\n", ["k"], []),
    ("blank line keeps the numbering", b"key,time,version\nk,1e12,v\n\nm,x,v\n", ["k"], [(3, "bad_time")]),
    ("invalid UTF-8 in one row", b"key,time,version\nk\xff,1e12,v\nl,2e12,v\n", ["l"], [(1, "not_an_object")]),
    ("text after a closing quote", b'key,time,version\n"k"x,1e12,v\nl,2e12,v\n', ["l"], [(1, "not_an_object")]),
    ("comma inside quotes", b'key,time,version\n"k,1",1e12,v\n', ["k,1"], []),
    ("empty cell is missing", b"key,time,version\n,1e12,v\n", [], [(1, "bad_key")]),
    ("header only", b"key,time,version\n", [], []),
    ("no newline at the end", b"key,time,version\nk,1e12,v", ["k"], []),
    ("line too large", b"key,time,version\n" + HUGE + b",1e12,v\nl,2e12,v\n", ["l"], [(1, "too_large")]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "keys", "rejects"), [case[1:] for case in CSV_CASES], ids=[c[0] for c in CSV_CASES]
)
def test_csv_rows_never_shift(tmp_path: Path, content: bytes, keys: list[str], rejects: list[tuple[int, str]]) -> None:
    """A row that does not fit the header is rejected by its number, and the rows after it are correct."""
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    chunk = map_file(path, "predictions", loop()) if content.count(b"\n") > 1 or b"k,1e12" in content else None
    if chunk is None:
        assert list(Mapper(open_record_file(path, "predictions", []), loop()).chunks()) == []
        return
    assert chunk.records["key"].to_list() == keys
    assert reasons(chunk) == rejects


@pytest.mark.parametrize(
    "content",
    [
        b'k,1e12,v\n"l,2e12,v\nm,3e12,v\n',
        b'k,1e12,v\n"' + HUGE + b'\n",1e12,v\nl,2e12,v\n',
    ],
    ids=["open", "cut off in quotes"],
)
def test_csv_with_an_open_quote_is_refused(tmp_path: Path, content: bytes) -> None:
    """The rows after a quote that is never closed cannot be separated, so nothing is guessed."""
    path = tmp_path / "a.csv"
    path.write_bytes(b"key,time,version\n" + content)
    with pytest.raises(InputError, match="quote opened in record"):
        map_file(path, "predictions", loop())


@pytest.mark.parametrize("length", [BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES])
def test_long_line_is_cut_and_its_neighbours_are_whole(tmp_path: Path, length: int) -> None:
    """A line of any length is cut, and the lines around it are whole, wherever the blocks end."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"first\n" + b"x" * length + b"\nlast")
    lines = [line for block in read_lines(path) for line in block]
    assert [len(line) for line in lines] == [5, MAX_LINE_BYTES + 1, 4]


def test_blocks_lose_no_line(tmp_path: Path) -> None:
    """Lines that cross the end of a block are read whole and once."""
    path = tmp_path / "a.jsonl"
    lines = [b"%07d" % number * 3 for number in range(300_000)]
    path.write_bytes(b"\n".join(lines))
    assert [line for block in read_lines(path) for line in block] == lines


def test_chunks_cover_every_row_once(tmp_path: Path) -> None:
    """Small chunks give the same records and row numbers as one large chunk."""
    path = tmp_path / "a.parquet"
    keys = [f"k{number}" for number in range(300_000)]
    pl.DataFrame({"key": keys, "time": range(10**12, 10**12 + 300_000)}).write_parquet(path, row_group_size=70_000)
    chunks = list(Mapper(open_record_file(path, "predictions", []), loop()).chunks(100_000))
    assert len(chunks) > 1
    records = pl.concat([chunk.records for chunk in chunks])
    assert records["row"].to_list() == list(range(1, 300_001))
    assert records["key"].to_list() == keys


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_a_table_with_another_delimiter_is_recognised_by_its_header(tmp_path: Path, delimiter: str, name: str) -> None:
    """Spreadsheets in half of Europe export this: the message names the delimiter and the conversion."""
    path = tmp_path / "labels.csv"
    path.write_text(
        delimiter.join(["key", "value", "time"]) + "\n" + delimiter.join(["a", "1", "1000000000005"]) + "\n", "utf-8"
    )
    labels = {"label": {"definition": "d", "horizon": "1h", "retain": "2h"}}
    config = LoopConfig.model_validate(
        {"version": 1, "loop": "x", "predictions": {"outputs": {"label": {"task": "binary"}}}, "labels": labels}
    )
    with pytest.raises(InputError, match=f"separated by {name}"):
        Mapper(open_record_file(path, "labels", []), config)
