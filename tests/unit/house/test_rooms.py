"""The rules of the house that neither a linter nor a type checker knows."""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("joins", "lake", "monitor", "retrain", "schemas", "streams", "truthloop")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted((ROOT / "docs").rglob("*.md"))
SENTENCES_MIN = 2

PATH = re.compile(r"\b(?:(?:" + "|".join(PACKAGES) + r"|docs|tests|benchmarks|examples)/[\w/.-]+\.(?:py|md))\b")
MODULE = re.compile(r"`((?:joins|monitor|schemas|streams|truthloop)(?:\.[a-z_][a-z_0-9]*)+)(?:\.[A-Z]\w*(?:\.\w+)?)?`")
NO_MODULES = {"truthloop.yaml", "truthloop.schemas"}
"""A file, and a name that ADR 1 decides against."""


RUN_BY_THE_DEMO = {"truthloop.cli.commands.demo", "truthloop.demo.airline"}
"""The whole demo with a process for the company; `make demo` is their test, and `.ci/run` makes it."""


@cache
def tree_of(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text("utf-8"))


def dotted(path: Path) -> str:
    """Return a module's name."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_a_class_name_exists_once() -> None:
    """A reader who finds a class by its name has found the right one."""
    places = defaultdict(list)
    for path in MODULES:
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(dotted(path))
    assert not {name: found for name, found in places.items() if len(found) > 1}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=dotted)
def test_a_room_says_what_lives_there(path: Path) -> None:
    """In two sentences at least: what is in it, and where a record comes in and goes out."""
    text = ast.get_docstring(tree_of(path)) or ""
    assert len(re.findall(r"[.:](?:\s|$)", text)) >= SENTENCES_MIN, f"{dotted(path)} says too little"


@cache
def names_in_tests() -> frozenset[str]:
    """Return the modules that tests import, or name by their dotted path in their docstring."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = tree_of(path)
        found |= set(
            re.findall(r"\b(?:" + "|".join(PACKAGES) + r")(?:\.[a-z_][a-z_0-9]*)+", ast.get_docstring(tree) or "")
        )
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    return frozenset(found)


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__init__.py"], ids=dotted)
def test_a_module_has_a_test_that_names_it(path: Path) -> None:
    """Its own test module, or one of another name that imports it or lists it in its docstring."""
    own = ROOT / "tests" / "unit" / path.relative_to(ROOT).parent / f"test_{path.stem}.py"
    named = names_in_tests() | RUN_BY_THE_DEMO
    assert own.exists() or dotted(path) in named, f"no test names {dotted(path)}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_is_there(document: Path) -> None:
    """Paths and modules."""
    text = document.read_text("utf-8")
    paths = {name for name in PATH.findall(text) if "NAME" not in name and not (ROOT / name.rstrip(".")).exists()}
    modules = set()
    for name in set(MODULE.findall(text)) - NO_MODULES:
        *_, last = name.split(".")
        base = ROOT / name.replace(".", "/")
        inside = base.parent.with_suffix(".py")
        is_there = base.is_dir() or base.with_suffix(".py").exists() or (inside.exists() and last in inside.read_text())
        if not is_there:
            modules.add(name)
    assert not paths | modules
