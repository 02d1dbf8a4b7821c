"""Type conversions of whole columns, and the schema of the canonical frames.

Readers deliver raw columns of any type; here they become text, numbers, times and digests.
"""
