"""How names and sentences from the data are shown on the page: harmless, and of bounded length.

Control and direction characters are written as escapes, and very long ones are cut in the middle. Templates
escape markup.
"""

from schemas.base.figures import plain_text

__all__ = ["NAME_MAX", "name", "prose"]

NAME_MAX = 64
"""A name of more characters would push everything else aside; the JSON of the panel has it whole."""

_TAIL = 12
_TEXT_MAX = 2_000


def name(text: object) -> str:
    """Return a name from the data as it is shown: harmless, and at most `NAME_MAX` characters long.

    >>> name("k" * 70)
    'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk…kkkkkkkkkkkk'
    """
    whole = str(text)
    if len(whole) <= NAME_MAX and whole.isprintable():
        return whole
    # only the ends are read of a name that is as long as a message allows
    head, tail = (plain_text(part) for part in (whole[:_TEXT_MAX], whole[-NAME_MAX:]))
    if len(whole) <= _TEXT_MAX and len(head) <= NAME_MAX:
        return head
    return f"{head[: NAME_MAX - _TAIL - 1]}…{tail[-_TAIL:]}"


def prose(text: str) -> str:
    """Return a sentence, a command or a query as it is shown: harmless, with its lines, cut where it has no end."""
    plain = "\n".join(plain_text(line) for line in text[:_TEXT_MAX].split("\n"))
    return plain if len(text) <= _TEXT_MAX else f"{plain}…"
