"""The config file: how YAML is read, what is refused, with which line and which suggestion."""

import os
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from truthloop.settings import ConfigProblem, InvalidConfigError, load_settings
from truthloop.yaml_source import read_scalar, read_yaml

GOOD = """\
version: 1
loop: card-fraud
lake: {uri: ./lake}
predictions:
  outputs:
    fraud: {task: binary, threshold: 0.5}
  slices: [country]
labels:
  fraud:
    definition: chargeback-10.4
    horizon: 120d
    retain: 200d
ingest:
  - files: "scores-*"
    as: predictions
    map:
      key: tx.id
      id: [tx.id, model.version]
      time: {path: ts, unit: ms}
      version: model.version
      outputs.fraud: score
      slices.country: country
  - files: "labels-*"
    as: labels
    kind: fraud
    map: {key: tx, value: {path: reason, values: {10.4: 1}}, time: at}
cohorts: {by: [version, country], ages: [1d, 30d]}
coverage:
  - {label: fraud, age: 30d, min: 0.3}
metrics:
  fraud: [roc_auc]
"""


def write(folder: Path, text: str | bytes) -> Path:
    """Write a config and return its path."""
    path = folder / "truthloop.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder: Path, text: str | bytes, environ: dict[str, str] | None = None) -> list[ConfigProblem]:
    """Return what is wrong with a config that must be refused."""
    with pytest.raises(InvalidConfigError) as caught:
        load_settings(write(folder, text), environ or {})
    return list(caught.value.problems)


def one(folder: Path, text: str | bytes) -> tuple[int | None, str]:
    """Return line and message of the only fault."""
    (problem,) = refused(folder, text)
    assert problem.file == str(folder / "truthloop.yaml")
    return problem.line, problem.message


def changed(old: str, new: str) -> str:
    """Return the good config with one change."""
    assert GOOD.count(old) == 1, old
    return GOOD.replace(old, new)


def test_a_good_config_loads_with_its_lake_beside_it(tmp_path: Path) -> None:
    """Relative lake folders start at the config's folder, not at the working directory."""
    settings = load_settings(write(tmp_path, GOOD), {})
    assert settings.config.labels["fraud"].horizon == 120 * 86_400_000
    assert settings.lake == tmp_path.resolve() / "lake"
    assert settings.path == tmp_path / "truthloop.yaml"
    assert settings.config.ingest[1].map["value"].values == {"10.4": 1}


def test_the_lake_does_not_follow_a_link_to_the_config(tmp_path: Path) -> None:
    """A mounted config is a link into a folder that is replaced with each version."""
    (tmp_path / "..2024").mkdir()
    write(tmp_path / "..2024", GOOD)
    link = tmp_path / "linked.yaml"
    link.symlink_to(tmp_path / "..2024" / "truthloop.yaml")
    assert load_settings(link, {}).lake == tmp_path.resolve() / "lake"


def test_absolute_and_home_lakes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An absolute folder stays, `~` is the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    absolute = load_settings(write(tmp_path, changed("./lake", str(tmp_path / "x"))), {})
    assert absolute.lake == tmp_path.resolve() / "x"
    assert load_settings(write(tmp_path, changed("./lake", "~/x")), {}).lake == tmp_path.resolve() / "home" / "x"


def test_scalars_are_those_of_yaml_1_2() -> None:
    """What YAML 1.1 would take for bools, base-60 numbers, octals and dates is text."""
    text = "on: no\noff: YES\na: 12:30:00\nb: 0777\nc: 2013-01-01\nd: 1_000\ne: y\nf: 0o17\ng: 0x1F\nh: 1e3\n"
    text += "i: .5\nj: -7\nk: True\nl: ~\nm:\nn: '1'\no: 1.2.3\np: 10.4\nq: =\nr: 0.0\ns: 007.5\n"
    value = read_yaml(text).value
    assert value == {
        "on": "no", "off": "YES", "a": "12:30:00", "b": "0777", "c": "2013-01-01", "d": "1_000", "e": "y", "f": 15,
        "g": 31, "h": 1000.0, "i": 0.5, "j": -7, "k": True, "l": None, "m": None, "n": "1", "o": "1.2.3", "p": 10.4,
        "q": "=", "r": 0.0, "s": "007.5",
    }  # fmt: skip


def test_keys_are_text_whatever_they_look_like() -> None:
    """`values: {1: x, yes: y, null: z}` maps texts."""
    assert read_yaml("{1: a, 10.40: b, true: c, null: d, yes: e}").value == {
        "1": "a", "10.40": "b", "true": "c", "null": "d", "yes": "e",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb:\n\tc: 1\n", 3, "column 1: a tab stands here; YAML is indented with spaces"),
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
def test_what_is_not_yaml_is_refused_with_line_and_column(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    """In words for people, at the place where it can be mended."""
    at, said = one(tmp_path, text)
    assert at == line
    assert message in said


def test_an_alias_bomb_is_refused(tmp_path: Path) -> None:
    """Nine lines that stand for a hundred million values."""
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    line, message = one(tmp_path, "\n".join(lines))
    assert line == 1
    assert message == "more than 50,000 values, counting what aliases (*name) repeat"


def test_an_alias_stands_for_the_value_of_its_anchor(tmp_path: Path) -> None:
    """Aliases are followed, and may be used where a value repeats."""
    text = changed("retain: 200d", "retain: &long 200d").replace("expected_delay", "")
    settings = load_settings(write(tmp_path, text.replace("horizon: 120d", "horizon: 120d\n    early: 1d")), {})
    assert settings.config.labels["fraud"].retain == 200 * 86_400_000
    assert read_yaml("a: &x {b: 1}\nc: *x\n").value == {"a": {"b": 1}, "c": {"b": 1}}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("horizon: 120d", "horizn: 120d", 11, "labels.fraud: unknown key 'horizn'; did you mean 'horizon'?"),
        ("predictions:\n", "predicitons:\n", 4, "unknown key 'predicitons'; did you mean 'predictions'?"),
        ("loop: card-fraud", "loop: card-fraud\nLake: x", 3, "unknown key 'Lake'; did you mean 'lake'?"),
        ("unit: ms", "units: ms", 19, "ingest[0].map.time: unknown key 'units'; did you mean 'unit'?"),
        ("    as: labels", "    as_: labels", 24, "ingest[1]: unknown key 'as_'; did you mean 'as'?"),
        ("retain: 200d", "retain: 200d\n    retain: 90d", 13, "labels.fraud.retain: this key is there twice, first in line 12"),
        ("loop: card-fraud", "loop: card-fraud\n<<: {a: 1}", 3, "<<: merge keys are not part of YAML 1.2; write the keys out"),
        ("horizon: 120d", "horizon: 120x", 11, "labels.fraud.horizon: '120x' is not a duration; write 90s, 15m, 36h"),
        ("horizon: 120d", "horizon: 120", 11, "labels.fraud.horizon: 120 has no unit; write 120s, 120m, 120h or 120d"),
        ("horizon: 120d", "horizon: 0d", 11, "labels.fraud.horizon: must be greater than 0, not"),
        ("horizon: 120d", "horizon: 300d", 12, "labels.fraud.retain: 200d is shorter than horizon 300d"),
        ("    horizon: 120d\n", "", 9, "labels.fraud.horizon: is missing"),
        ("task: binary", "task: binry", 6, "must be 'binary', 'multiclass' or 'regression', not 'binry'; did you mean 'binary'?"),
        ("threshold: 0.5", "threshold: 1.5", 6, "predictions.outputs.fraud.threshold: must be at most 1, not 1.5"),
        ("threshold: 0.5", "threshold: .inf", 6, "predictions.outputs.fraud.threshold: '.inf' is not a finite number"),
        ("threshold: 0.5", "threshold: high", 6, "threshold: must be a number, not 'high'"),
        ("chargeback-10.4", "10.4", 10, 'labels.fraud.definition: must be text, not 10.4; quote it if it is text: "10.4"'),
        ("chargeback-10.4", "!!python/name:os.system x", 10, "the tag '!!python/name:os.system' is not understood"),
        ("chargeback-10.4", "", 10, "labels.fraud.definition: must be text, and is empty"),
        ("loop: card-fraud", "loop: Card Fraud", 2, "loop: 'Card Fraud' must be lower-case letters, digits and -"),
        ("version: 1", "version: true", 1, "version: must be a whole number, not true"),
        ("version: 1", "version: 2", 1, "version: must be 1, not 2"),
        ("./lake", "s3://bucket/x", 3, "lake.uri: only local folders can be a lake by now, and s3:// is none; write a path"),
        ("lake: {uri: ./lake}", "timezone: Europe/Berln", 3, "'Europe/Berln' is not an IANA time zone; did you mean 'Europe/Berlin'?"),
        ("lake: {uri: ./lake}", "clock: arival", 3, "clock: must be 'arrival' or 'event', not 'arival'; did you mean 'arrival'?"),
        ("lake: {uri: ./lake}", "lake: ./lake", 3, "lake: must be a mapping (lines of `key: value`), not './lake'"),
        ("slices: [country]", "slices: [country, 5]", 7, 'predictions.slices[1]: must be text, not 5; quote it'),
        ("slices: [country]", "slices: [country, Country]", 7, "'country' and 'Country' differ only in case"),
        ("slices: [country]", "slices: [country, version]", 7, "'version' is always there and cannot be a slice too"),
        ("slices: [country]", "slices: [country, a b]", 7, "'a b' must be a plain name: letters, digits and _"),
        ("    retain: 200d", "    retain: 200d\n    on_timeout: expier", 13, "must be 'expire' or a mapping (lines of `key: value`), not 'expier'; did you mean 'expire'?"),
        ("    retain: 200d", "    retain: 200d\n    on_timeout: {imply: 2}", 13, "labels.fraud.on_timeout.imply: must be 0 or 1 for task: binary, not 2"),
        ("    retain: 200d", "    retain: 200d\n    on_timeout: {imply: [1]}", 13, "on_timeout.imply: must be true or false, a number or text, not a list"),
        ("    retain: 200d", "    retain: 200d\n    on_timeout: {impl: 1}", 13, "labels.fraud.on_timeout: unknown key 'impl'; did you mean 'imply'?"),
        ("key: tx.id", "kye: tx.id", 17, "ingest[0].map.kye: unknown field; did you mean 'key'?"),
        ("key: tx.id", "key: 5", 17, "ingest[0].map.key: must be a path, a list of paths, or a mapping such as"),
        ("key: tx.id", "key: ''", 17, "ingest[0].map.key: a path cannot be empty"),
        ("      key: tx.id\n", "", 16, "ingest[0].map.key: is missing"),
        ("outputs.fraud: score", "outputs.frod: score", 21, "'frod' is not one of predictions.outputs; did you mean 'fraud'?"),
        ("slices.country: country", "slices.contry: country", 22, "'contry' is not one of predictions.slices; did you mean 'country'?"),
        ("version: model.version", "version: {path: v, unit: ms}", 20, "ingest[0].map.version.unit: is for times"),
        ("version: model.version", "version: v.*", 20, "only `features` can take every field below a path"),
        ("    kind: fraud\n", "    kind: frad\n", 25, "ingest[1].kind: 'frad' is not a label kind; did you mean 'fraud'?"),
        ("    kind: fraud\n", "", 23, "ingest[1]: labels need `kind: NAME`"),
        ("value: {path: reason, values: {10.4: 1}}, ", "", 25 + 1, "ingest[1].map.value: is missing"),
        ("[version, country]", "[version, contry]", 27, "cohorts.by[1]: 'contry' is neither 'version' nor one of predictions.slices; did you mean 'country'?"),
        ("ages: [1d, 30d]", "ages: [30d, 1d]", 27, "cohorts.ages: must grow, and 1d comes after 30d"),
        ("{label: fraud,", "{label: farud,", 29, "coverage[0].label: 'farud' is not a label kind; did you mean 'fraud'?"),
        ("min: 0.3", "min: 30", 29, "coverage[0].min: must be at most 1, not 30"),
        ("  fraud: [roc_auc]", "  fraud: [roc_acu]", 31, "did you mean 'roc_auc'?"),
        ("  fraud: [roc_auc]", "  fruad: [roc_auc]", 31, "metrics.fruad: 'fruad' is not a label kind; did you mean 'fraud'?"),
        ("  fraud: [roc_auc]", "  fraud: [roc_auc, roc_auc]", 31, "metrics.fraud: 'roc_auc' is there twice"),
    ],
)  # fmt: skip
def test_each_fault_is_told_with_its_line_and_the_nearest_right_name(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    """One fault gives one message, at the line where it stands."""
    at, said = one(tmp_path, changed(old, new))
    assert at == line, said
    assert message in said


def test_kinds_that_only_one_part_names_are_told_where_they_stand(tmp_path: Path) -> None:
    """outputs and labels must name the same kinds."""
    found = refused(tmp_path, changed("    fraud: {task: binary, threshold: 0.5}", "    frauds: {task: binary}"))
    assert (6, "predictions.outputs.frauds: labels has no kind 'frauds', and every output needs one") in [
        (problem.line, problem.message.partition(";")[0]) for problem in found
    ]
    assert any("did you mean 'fraud'?" in problem.message for problem in found)


def test_all_faults_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    """One message with a line for each, as compilers write them."""
    text = changed("card-fraud", "X").replace("horizon: 120d", "horizn: 120x").replace("unit: ms", "unit: min")
    path = write(tmp_path, text + "kafka: {}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, {})
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in lines] == ["2", "11", "11", "19", "32"]
    assert caught.value.where == f"{path}:2"
    assert "unknown key 'kafka'; there is clock, cohorts," in lines[-1]
    assert "pydantic" not in str(caught.value)


def test_thousands_of_faults_make_a_short_report(tmp_path: Path) -> None:
    """A data file given by mistake gets an answer that can be read."""
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, GOOD + "".join(f"x{i}: 1\n" for i in range(2_000))), {})
    assert str(caught.value).endswith("... and 1950 more")


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"", 1, "the file is empty"),
        (b"# only a comment\n", 1, "the file is empty"),
        (b"- version: 1\n", 1, "the file holds a list; a config is a mapping of sections"),
        (b"just text\n", 1, "the file holds a single value; a config is a mapping"),
        (b"version: 1\nloop: caf\xe9\n", 2, "byte 0xE9 is not valid UTF-8"),
        ("version: 1".encode("utf-16"), 1, "byte 0xFF is not valid UTF-8"),
        (b"#" * 50_000_000, None, "larger than 256 KiB, which no config is; is this a data file?"),
    ],
)
def test_a_file_that_is_no_config_is_refused(
    tmp_path: Path, content: bytes, line: int | None, message: str
) -> None:
    """Empty, a list, another encoding, a data file."""
    at, said = one(tmp_path, content)
    assert at == line
    assert message in said


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """Some editors write one."""
    assert load_settings(write(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()), {}).config.loop == "card-fraud"


def test_a_missing_file_points_to_new(tmp_path: Path) -> None:
    """The next step stands in the hint."""
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
    line, message = one(tmp_path, GOOD)
    assert line == 3
    assert "is a file, and a lake is a folder" in message


def test_the_environment_overrides_single_values(tmp_path: Path) -> None:
    """Two underscores lead one level down; names match without regard to case; values are YAML scalars."""
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
    settings = load_settings(write(tmp_path, GOOD), environ)
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
    """`environ` is an argument so that tests and notebooks need not touch the process's own."""
    path = write(tmp_path, GOOD)
    monkeypatch.setenv("TRUTHLOOP_PARTITIONS", "5")
    assert load_settings(path).config.partitions == 5
    assert load_settings(path, {}).config.partitions == 8
    assert os.environ["TRUTHLOOP_PARTITIONS"] == "5"


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TRUTHLOOP_LABELS__FRAUD__HORIZN", "90d", "labels.fraud has no key 'horizn'; did you mean 'horizon'?"),
        ("TRUTHLOOP_LAK__URI", "x", "the config has no key 'lak'; did you mean 'lake'?"),
        ("TRUTHLOOP_LABELS__FRUAD__HORIZON", "90d", "labels has no key 'fruad'; did you mean 'fraud'?"),
        ("TRUTHLOOP_INGEST__7__FILES", "x", "ingest has 2 items, counted from 0, and no 7"),
        ("TRUTHLOOP_", "x", "the config has no key ''"),
        ("TRUTHLOOP_LABELS__FRAUD__HORIZON", "90", "labels.fraud.horizon: 90 has no unit"),
        ("TRUTHLOOP_PARTITIONS", "many", "partitions: must be a whole number, not 'many'"),
        ("TRUTHLOOP_PARTITIONS", "", "partitions: must be a whole number, and is empty"),
        ("TRUTHLOOP_PARTITIONS", ".nan", "'.nan' is not a finite number"),
        ("TRUTHLOOP_COHORTS__AGES", "[1d", "a '[' is not closed"),
        ("TRUTHLOOP_LAKE__URI", "s3://bucket", "only local folders can be a lake by now"),
    ],
)
def test_a_wrong_override_is_told_by_the_name_of_its_variable(
    tmp_path: Path, name: str, value: str, message: str
) -> None:
    """Unknown names and bad values both name the variable, not a line that says something else."""
    (problem,) = refused(tmp_path, GOOD, {name: value})
    assert problem.where == f"environment variable {name}"
    assert message in problem.message


def test_an_override_that_could_mean_two_keys_is_refused(tmp_path: Path) -> None:
    """Names differ in case only, and the variable fits neither exactly."""
    text = changed("    values: {10.4: 1}", "") if "    values: {10.4: 1}" in GOOD else GOOD
    text = text.replace("values: {10.4: 1}", "values: {Ab: 1, aB: 0}")
    (problem,) = refused(tmp_path, text, {"TRUTHLOOP_INGEST__1__MAP__VALUE__VALUES__AB": "1"})
    assert "has 'Ab' and 'aB'; write the one that is meant" in problem.message


def test_a_scalar_from_the_environment_is_read_as_in_the_file() -> None:
    """The same words mean the same in both places."""
    assert [read_scalar(text) for text in ("90d", "1", "0.5", "true", "no", "", "0777")] == [
        "90d", 1, 0.5, True, "no", None, "0777",
    ]  # fmt: skip
