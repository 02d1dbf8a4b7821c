"""Reads a page of HTML as a browser does, and fails where its tags do not fit."""

from html.parser import HTMLParser

VOID = {"meta", "link", "input", "br"}
LOOSE = {"td", "th", "tr"}
"""HTML allows these without an end tag, and the page has none, for its size."""


class HtmlReader(HTMLParser):
    """Parses a page as a browser does: tags, attributes and text."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a tag."""
        self.tags.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs), f"{tag} has an attribute twice"
        if tag not in VOID | LOOSE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record a self-closing tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """Close the innermost open tag."""
        if tag not in LOOSE:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Record text."""
        self.texts.append(data)

    @property
    def text(self) -> str:
        """All text, with single spaces."""
        return " ".join(" ".join(self.texts).split())
