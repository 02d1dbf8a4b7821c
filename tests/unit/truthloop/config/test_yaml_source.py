"""YAML as a config uses it: the scalars of YAML 1.2, and keys that are always text."""

from truthloop.config.yaml_source import is_plain_text, read_scalar, read_yaml


def test_scalars_are_those_of_yaml_1_2() -> None:
    """Bools, base-60 numbers, octals and dates of YAML 1.1 are text."""
    text = "on: no\noff: YES\na: 12:30:00\nb: 0777\nc: 2013-01-01\nd: 1_000\ne: y\nf: 0o17\ng: 0x1F\nh: 1e3\n"
    text += "i: .5\nj: -7\nk: True\nl: ~\nm:\nn: '1'\no: 1.2.3\np: 10.4\nq: =\nr: 0.0\ns: 007.5\n"
    value = read_yaml(text).value
    assert value == {
        "on": "no",
        "off": "YES",
        "a": "12:30:00",
        "b": "0777",
        "c": "2013-01-01",
        "d": "1_000",
        "e": "y",
        "f": 15,
        "g": 31,
        "h": 1000.0,
        "i": 0.5,
        "j": -7,
        "k": True,
        "l": None,
        "m": None,
        "n": "1",
        "o": "1.2.3",
        "p": 10.4,
        "q": "=",
        "r": 0.0,
        "s": "007.5",
    }


def test_keys_are_text_whatever_they_look_like() -> None:
    """`values: {1: x, yes: y, null: z}` maps texts."""
    assert read_yaml("{1: a, 10.40: b, true: c, null: d, yes: e}").value == {
        "1": "a",
        "10.40": "b",
        "true": "c",
        "null": "d",
        "yes": "e",
    }


def test_a_scalar_from_the_environment_is_read_as_in_the_file() -> None:
    """The same text gives the same value."""
    assert [read_scalar(text) for text in ("90d", "1", "0.5", "true", "no", "", "0777")] == [
        "90d",
        1,
        0.5,
        True,
        "no",
        None,
        "0777",
    ]


def test_lines_are_known_for_every_key_and_list_item() -> None:
    """By the path of the value."""
    assert read_yaml("a:\n  - x\n  - b: 1\n    c: 2\n").lines == {
        (): 1,
        ("a",): 1,
        ("a", 0): 2,
        ("a", 1): 3,
        ("a", 1, "b"): 3,
        ("a", 1, "c"): 4,
    }


def test_errors_that_leave_the_rest_readable_are_collected() -> None:
    """Each with its line; the first of two equal keys counts."""
    document = read_yaml("a: 1\na: 2\nb: !!set {x}\n? [c]\n: 1\nd: .nan\ne: " + "9" * 500 + "\n")
    assert document.value == {"a": 1, "b": {"x": None}, "d": None, "e": None}
    assert [(line, str(problem)) for problem, line in document.problems] == [
        (2, "a: this key occurs twice, first in line 1"),
        (3, "b: the tag '!!set' is not supported"),
        (4, "a key must be a single word, not a list or a mapping"),
        (6, "d: '.nan' is not a finite number"),
        (7, "e: a number of 500 digits; put it in quotes if it is text"),
    ]


def test_plain_text_is_what_needs_no_quotes() -> None:
    """For writing names into a config."""
    assert [text for text in ("null", "1", "1e5", "True", "no", "a-b", "007") if is_plain_text(text)] == [
        "no",
        "a-b",
        "007",
    ]
