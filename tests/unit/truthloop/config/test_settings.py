"""The config file: how it is read, and which errors are reported with which line and suggestion.

Tests `truthloop.config.environment`, `truthloop.config.faults` and `truthloop.config.shape`, too.
"""

import os
from pathlib import Path

import pytest
from config_faults import ERRORS, VALID

from schemas.errors import ConfigError
from truthloop.config.settings import ConfigProblem, InvalidConfigError, load_settings
from truthloop.config.yaml_source import read_yaml


def write(folder: Path, text: str | bytes) -> Path:
    """Write a config and return its path."""
    path = folder / "truthloop.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[ConfigProblem]:
    """Return the problems of an invalid config."""
    with pytest.raises(InvalidConfigError) as caught:
        load_settings(write(folder, text), environ or {})
    return list(caught.value.problems)


def one(folder: Path, text: str | bytes) -> tuple[int | None, str]:
    """Return line and message of the only problem."""
    (problem,) = refused(folder, text)
    assert problem.file == str(folder / "truthloop.yaml")
    return problem.line, problem.message


def changed(old: str, new: str) -> str:
    """Return the valid config with one change."""
    assert VALID.count(old) == 1, old
    return VALID.replace(old, new)


def test_a_relative_lake_is_in_the_folder_of_the_config(tmp_path: Path) -> None:
    """The working directory does not matter."""
    settings = load_settings(write(tmp_path, VALID), {})
    assert settings.config.labels["fraud"].horizon == 120 * 86_400_000
    assert settings.lake == tmp_path.resolve() / "lake"
    assert settings.path == tmp_path / "truthloop.yaml"
    assert settings.config.ingest[1].map["value"].values == {10.4: 1}


def test_the_lake_does_not_follow_a_link_to_the_config(tmp_path: Path) -> None:
    """A mounted config is a link into a folder that is replaced with each version."""
    (tmp_path / "..2024").mkdir()
    write(tmp_path / "..2024", VALID)
    link = tmp_path / "linked.yaml"
    link.symlink_to(tmp_path / "..2024" / "truthloop.yaml")
    assert load_settings(link, {}).lake == tmp_path.resolve() / "lake"


def test_absolute_and_home_lakes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute folder stays, `~` is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    absolute = load_settings(write(tmp_path, changed("./lake", str(tmp_path / "x"))), {})
    assert absolute.lake == tmp_path.resolve() / "x"
    assert load_settings(write(tmp_path, changed("./lake", "~/x")), {}).lake == tmp_path.resolve() / "home" / "x"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb:\n\tc: 1\n", 3, "column 1: there is a tab here; YAML is indented with spaces"),
        ("a: 'x\nb: 1\n", 1, "column 4: a quote is not closed"),
        ("a: [1,\nb: 1\n", 1, "column 4: a '[' is not closed, or a ',' is missing"),
        ("a: [1\nb: {c\n", 2, "column 2: a '[' is not closed, or a ',' is missing (it began in line 1)"),
        ("labels:\n  fraud\n    x: 1\n", 3, "column 6: a ':' does not fit here"),
        ("a: 1\nb: @x\n", 2, "column 4: text cannot start with this character; put it in quotes"),
        ("a: *b\n", 1, "column 4: this alias has no anchor"),
        ("a: 1\n---\nb: 2\n", 2, "a second document starts here ('---')"),
        ("a: 1\nb: \x07\n", 2, "the character U+0007 is not allowed in YAML"),
        ("a: &a [*a]\n", 1, "an alias (*name) that contains itself"),
        ("a:\n b: " + "[" * 100_000, 2, "more than 64 levels deep"),
        ("a: 1\nb: 2\n  c: 3\n", 3, "column 4: a ':' does not fit here"),
    ],
)
def test_invalid_yaml_is_refused_with_line_and_column(tmp_path: Path, text: str, line: int, message: str) -> None:
    """With a plain message, at the position where it can be fixed."""
    at, reported = one(tmp_path, text)
    assert at == line
    assert message in reported


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    """Nine lines that expand to a hundred million values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    line, message = one(tmp_path, "\n".join(lines))
    assert line == 1
    assert message == "more than 50,000 values, including those that aliases (*name) repeat"


def test_an_alias_is_replaced_by_the_value_of_its_anchor(tmp_path: Path) -> None:
    """Aliases are allowed where a value repeats."""
    text = changed("retain: 200d", "retain: &long 200d").replace("expected_delay", "")
    settings = load_settings(write(tmp_path, text.replace("horizon: 120d", "horizon: 120d\n    early: 1d")), {})
    assert settings.config.labels["fraud"].retain == 200 * 86_400_000
    assert read_yaml("a: &x {b: 1}\nc: *x\n").value == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(("old", "new", "line", "message"), ERRORS)
def test_each_error_is_reported_with_its_line_and_the_nearest_name(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    """One error gives one message with its line."""
    at, reported = one(tmp_path, changed(old, new))
    assert at == line, reported
    assert message in reported


def test_a_kind_that_only_one_section_names_is_reported_with_its_line(tmp_path: Path) -> None:
    """Outputs and labels must name the same kinds."""
    found = refused(tmp_path, changed("    fraud: {task: binary, threshold: 0.5}", "    frauds: {task: binary}"))
    assert (6, "predictions.outputs.frauds: labels has no kind 'frauds', and every output needs one") in [
        (problem.line, problem.message.partition(";")[0]) for problem in found
    ]
    assert any("did you mean 'fraud'?" in problem.message for problem in found)


def test_all_errors_are_reported_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    """One message with a line for each error."""
    text = changed("card-fraud", "a b").replace("horizon: 120d", "horizn: 120x").replace("unit: ms", "unit: min")
    path = write(tmp_path, text + "zookeeper: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in lines] == ["2", "11", "11", "19", "32"]
    assert caught.value.where == f"{path}:2"
    assert "unknown key 'zookeeper'; there is clock, cohorts," in lines[-1]
    assert "pydantic" not in str(caught.value)


def test_thousands_of_errors_make_a_short_report(tmp_path: Path) -> None:
    """For instance of a data file given by mistake."""
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, VALID + "".join(f"x{i}: 1\n" for i in range(2_000))), {})
    assert str(caught.value).endswith("... and 1950 more")


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "the file is empty"),
        (b"# only a comment\n", 1, "the file is empty"),
        (b"- version: 1\n", 1, "the file contains a list; a config is a mapping of sections"),
        (b"just text\n", 1, "the file contains a single value; a config is a mapping"),
        (b"version: 1\nloop: caf\xe9\n", 2, "byte 0xE9 is not valid UTF-8"),
        ("version: 1".encode("utf-16"), 1, "byte 0xFF is not valid UTF-8"),
        (b"#" * 50_000_000, None, "larger than 256 KiB, which no config is; is this a data file?"),
    ],
)
def test_a_file_that_is_not_a_config_is_refused(tmp_path: Path, content: bytes, line: int | None, message: str) -> None:
    """Empty, a list, another encoding, a data file."""
    at, reported = one(tmp_path, content)
    assert at == line
    assert message in reported


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    """Some editors write one."""
    assert load_settings(write(tmp_path, b"\xef\xbb\xbf" + VALID.encode()), {}).config.loop == "card-fraud"


def test_a_missing_file_hints_at_new(tmp_path: Path) -> None:
    """The command that writes a config."""
    with pytest.raises(ConfigError, match="no such file") as caught:
        load_settings(tmp_path / "nothing.yaml", {})
    assert caught.value.where == str(tmp_path / "nothing.yaml")
    assert "truthloop new" in caught.value.hint
    assert caught.value.exit_code == 2


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """--config names the file, not its folder."""
    with pytest.raises(ConfigError, match="this is a folder; name the config file in it"):
        load_settings(tmp_path, {})


def test_a_lake_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """Before anything is written to it."""
    (tmp_path / "lake").write_text("x")
    line, message = one(tmp_path, VALID)
    assert line == 3
    assert "is a file, not a folder" in message


def test_the_environment_overrides_single_values(tmp_path: Path) -> None:
    """Two underscores lead one level down; names are case-insensitive; values are YAML scalars."""
    environ = {
        "TRUTHLOOP_LAKE__URI": "elsewhere",
        "TRUTHLOOP_LABELS__FRAUD__HORIZON": "90d",
        "TRUTHLOOP_labels__fraud__On_Timeout__imply": "1",
        "TRUTHLOOP_PREDICTIONS__OUTPUTS__FRAUD__THRESHOLD": "0.25",
        "TRUTHLOOP_PARTITIONS": "3",
        "TRUTHLOOP_COHORTS__AGES": "[2d, 3d]",
        "TRUTHLOOP_INGEST__1__MAP__KEY__PATH": "other: key # not a comment",
        "TRUTHLOOP_LOOP": '"007"',
        "OTHER_LOOP": "x",
    }
    settings = load_settings(write(tmp_path, VALID), environ)
    config = settings.config
    label = config.labels["fraud"]
    assert settings.lake == tmp_path.resolve() / "elsewhere"
    assert (label.horizon, config.partitions, config.loop) == (90 * 86_400_000, 3, "007")
    assert not isinstance(label.on_timeout, str)
    assert label.on_timeout.imply == 1
    assert config.predictions.outputs["fraud"].threshold == 0.25
    assert config.cohorts.ages == [2 * 86_400_000, 3 * 86_400_000]
    assert config.ingest[1].map["key"].path == "other: key # not a comment"


def test_the_process_environment_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`environ` is an argument so that tests and notebooks need not change the process's own."""
    path = write(tmp_path, VALID)
    monkeypatch.setenv("TRUTHLOOP_PARTITIONS", "5")
    assert load_settings(path).config.partitions == 5
    assert load_settings(path, {}).config.partitions == 8
    assert os.environ["TRUTHLOOP_PARTITIONS"] == "5"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "TRUTHLOOP_LABELS__FRAUD__HORIZN",
            "90d",
            "labels.fraud has no key 'horizn'; did you mean 'horizon'?",
        ),
        ("TRUTHLOOP_LAK__URI", "x", "the config has no key 'lak'; did you mean 'lake'?"),
        ("TRUTHLOOP_LABELS__FRUAD__HORIZON", "90d", "labels has no key 'fruad'; did you mean 'fraud'?"),
        ("TRUTHLOOP_INGEST__7__FILES", "x", "ingest has 2 items, counted from 0, and no 7"),
        ("TRUTHLOOP_", "x", "the config has no key ''"),
        ("TRUTHLOOP_LABELS__FRAUD__HORIZON", "90", "labels.fraud.horizon: 90 has no unit"),
        ("TRUTHLOOP_PARTITIONS", "many", "partitions: must be a whole number, not 'many'"),
        ("TRUTHLOOP_PARTITIONS", "", "partitions: must be a whole number, and is empty"),
        ("TRUTHLOOP_PARTITIONS", ".nan", "'.nan' is not a finite number"),
        ("TRUTHLOOP_COHORTS__AGES", "[1d", "a '[' is not closed"),
        ("TRUTHLOOP_LAKE__URI", "az://bucket", "must be a local folder or s3://BUCKET/KEY, not az://"),
        ("TRUTHLOOP_LAKE__URI", "s3://Bucket/x", "lake.uri: 's3://Bucket/x' is no s3://BUCKET/KEY"),
        ("TRUTHLOOP_LAKE__URI", "s3://bucket/a b", "has a folder 'a b': letters, digits"),
        ("TRUTHLOOP_STATE__DIR", "s3://bucket/x", "must be a local folder, not s3://"),
    ],
)
def test_an_invalid_override_is_reported_with_the_name_of_its_variable(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    """Not with the line of the value that it overrides."""
    (problem,) = refused(tmp_path, VALID, {name: value})
    assert problem.where == f"environment variable {name}"
    assert message in problem.message


def test_an_override_that_could_mean_two_keys_is_refused(tmp_path: Path) -> None:
    """The keys differ in case only, and the variable matches neither exactly."""
    text = changed("values: {10.4: 1}", "values: {Ab: 1, aB: 0}")
    (problem,) = refused(tmp_path, text, {"TRUTHLOOP_INGEST__1__MAP__VALUE__VALUES__AB": "1"})
    assert "has 'Ab' and 'aB'; write it exactly like one of them" in problem.message
