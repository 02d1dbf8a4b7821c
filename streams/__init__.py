"""Carries data in and out: files and Kafka on one side, the pure join and the lake on the other.

`readers` parse foreign records, `mapping` makes them canonical, `join_worker` (live) or `replay` (files) joins them,
and `lake_sink` or `replay.writer` stores the outcomes. Every role on Kafka is a package; what roles share lies below
them. Evidence and decisions are computed elsewhere (`monitor`, `retrain`).
"""
