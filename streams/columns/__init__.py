"""Columns of values whose meaning is not known yet, and the schema of the canonical frames.

Readers hand over raw columns of any type; here they become text, numbers, times and digests. Nothing here opens a file
or knows a topic.
"""
