"""A name that nothing in the product uses is dead, however well it is tested."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
PACKAGES = ("joins", "lake", "monitor", "retrain", "schemas", "streams", "truthloop")

DECORATORS = {"property", "classmethod", "staticmethod", "dataclass", "cached_property", "cache", "override"}
"""Those that hand a function to nobody: other decorators register it somewhere."""

CALLED_BY_OTHERS = {
    "MemoryStore": "the example of `Partition` uses it, and tests compare the durable store with it",
    "daemon_threads": "socketserver reads it",
    "get_request": "socketserver calls it",
    "handle_error": "aiohttp and socketserver call it",
    "do_GET": "http.server calls it",
    "do_POST": "http.server calls it",
    "log_message": "http.server calls it",
    "modified": "DuckDB calls it",
    "open": "users call it: `truthloop.open`",
    "readable": "pyarrow and DuckDB call it",
    "seek": "the same",
    "seekable": "the same",
    "yaml_implicit_resolvers": "PyYAML reads it",
}
"""Names that only libraries or users call, each with who does."""


def files() -> list[Path]:
    """Return every module of the product."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def defined(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Give each function, class, method and module constant that no decorator hands to somebody else."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                handed = {name(decorator) for decorator in node.decorator_list}
                if handed <= DECORATORS:
                    yield node.name, node.lineno
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name_)]) | ast.AnnAssign(target=ast.Name(id=name_)):
                yield name_, node.lineno


def name(decorator: ast.expr) -> str:
    """Return the last part of a decorator's name."""
    match decorator:
        case ast.Call(func=func):
            return name(func)
        case ast.Attribute(attr=attr):
            return attr
        case ast.Name(id=id_):
            return id_
    return ""


def used(tree: ast.Module) -> Iterator[str]:
    """Give each name that a module reads; to define, import or export it is not to use it."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=id_, ctx=ast.Load()):
                yield id_
            case ast.Attribute(attr=attr):
                yield attr
            case ast.keyword(arg=str(arg)):
                yield arg
            case ast.Constant(value=str(text)) if text.isidentifier():
                yield text


def is_export(node: ast.stmt) -> bool:
    """Tell whether this is the module's `__all__`."""
    return isinstance(node, ast.Assign) and name(node.targets[0]) == "__all__"


def test_every_name_of_the_product_is_used_by_the_product() -> None:
    """Neither tests nor an `__all__` keep a name alive."""
    trees = {path: ast.parse(path.read_text("utf-8")) for path in files()}
    for tree in trees.values():
        tree.body = [node for node in tree.body if not is_export(node)]
    uses = Counter(name_ for tree in trees.values() for name_ in used(tree))
    dead = [
        f"{path.relative_to(ROOT)}:{line}: {name_}"
        for path, tree in trees.items()
        for name_, line in defined(tree)
        if not uses[name_] and name_ not in CALLED_BY_OTHERS and not (name_.startswith("__") and name_.endswith("__"))
    ]
    assert not dead, "nothing in the product uses\n" + "\n".join(dead)
