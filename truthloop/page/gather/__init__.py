"""Fills the panels of a view from the lake: from cells, findings, the gate's log, arrivals and rejects."""

from truthloop.page.gather.gatherer import Gatherer

__all__ = ["Gatherer"]
