"""The ledger: the offsets that each step of the join read, and the checkpoint that it left.

A live join writes one entry per transaction and partition to a topic (`entry`, `topic`); the lake has a table of the
same (`row`, `table`). `rules` holds the rules that were in force for a step; `lake_kind` tells a lake that replays fill
from one that a live join fills.
"""
