"""The edges that carry data: files and Kafka on one side, the pure join and the lake on the other.

A foreign record comes in through `readers`, becomes a canonical one in `mapping`, is joined in `join_worker` (live) or
`replay` (files), and goes out through `lake_sink` or `replay.writer`. No module here knows evidence or decisions.
Every role is a room of its own; what roles share lies below them.
"""
