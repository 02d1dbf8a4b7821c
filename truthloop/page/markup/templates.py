"""The page's one Jinja environment: autoescaped, strict, with the formatters that all templates share."""

from importlib import resources

from jinja2 import DictLoader, Environment, StrictUndefined
from markupsafe import Markup

from truthloop.text import format as text

__all__ = ["environment_of", "per_cent"]


def environment_of(*templates: str) -> Environment:
    """Return what renders these templates; what only some of them need is added by who renders them.

    Args:
        templates: names of files among the templates, those that they include, too.
    """
    folder = resources.files("truthloop.page.markup").joinpath("templates")
    sources = {file: folder.joinpath(file).read_text("utf-8") for file in templates}
    environment = Environment(
        loader=DictLoader(sources), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        name=text.name, prose=text.prose, number=text.number, share=per_cent, count=text.count, age=text.age
    )
    return environment


def per_cent(value: float | None) -> Markup:
    """Return a share with its sign; a narrow space keeps the two together."""
    shown = text.share(value)
    return Markup("{}").format(shown if shown == text.NOTHING else f"{shown}\N{NARROW NO-BREAK SPACE}%")
