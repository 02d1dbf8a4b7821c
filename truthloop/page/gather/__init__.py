"""From the lake to panels: everything that a view shows, gathered from cells, log and rejects.

The lake comes in and a `View` goes out. No HTML is written here, and nothing that the gate decides is decided here.
"""

from truthloop.page.gather.gatherer import Gatherer

__all__ = ["Gatherer"]
