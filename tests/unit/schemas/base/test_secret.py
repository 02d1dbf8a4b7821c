"""A secret of the environment, or of the file that it names."""

from pathlib import Path

import pytest

from schemas.base.secret import secret_value
from schemas.errors import ConfigError


def test_the_file_comes_first(tmp_path: Path) -> None:
    """Its line breaks are those of the editor; blanks may be the secret's."""
    file = tmp_path / "secret"
    file.write_text(" of the file\r\n")
    assert secret_value("S", {"S": "plain", "S_FILE": str(file)}) == " of the file"
    assert secret_value("S", {"S": "plain"}) == "plain"


def test_none_is_set(tmp_path: Path) -> None:
    """An empty value or file counts as none."""
    (tmp_path / "empty").write_text("\n")
    environs: list[dict[str, str]] = [{}, {"S": ""}, {"S_FILE": str(tmp_path / "empty")}]
    assert [secret_value("S", environ) for environ in environs] == [None] * 3


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """The message names the variable, and nothing of the file."""
    with pytest.raises(ConfigError, match="variable S_FILE: the file it names cannot be read: No such file"):
        secret_value("S", {"S_FILE": str(tmp_path / "none")})
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="variable S_FILE: the file it names is not UTF-8"):
        secret_value("S", {"S_FILE": str(tmp_path / "bytes")})
