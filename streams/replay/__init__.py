"""Joins files into a lake without a broker: the nightly job of a team, and the demo without Kafka.

Mapped files are sorted and aligned in time, joined step by step, and written by `writer`, ledger first.
"""
