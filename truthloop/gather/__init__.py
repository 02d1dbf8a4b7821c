"""From the lake to the page: everything that a view shows, gathered from cells, log and rejects.

Must not write HTML, and must not decide anything that the gate decides.
"""

from truthloop.gather.gatherer import Gatherer

__all__ = ["Gatherer"]
