"""Structs are decoded by decoders that are made at import: msgspec prepares a type when it is first used.

Two threads of a join worker that did so at once have ended the process.
"""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FIRST_USE = re.compile(r"msgspec\.\w+\.decode\(.*type=(?!dict\[|type\()")
"""Types of Python itself need no preparation; a value's own type has been prepared."""


def test_no_struct_is_prepared_when_it_is_first_decoded() -> None:
    """In any module of the edges, which run in threads."""
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in (ROOT / "streams").rglob("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if FIRST_USE.search(line)
    ]
    assert found == []
