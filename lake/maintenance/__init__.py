"""Maintenance of the lake's tables: few large files instead of many small ones, and nothing kept that nobody reads.

`plan` decides which files become one and `expiry` what may go, both from facts alone. `rewrite` and `commit` replace
files without changing a row, `sweep` deletes; all of them reach files through `lake.storage`. `maintainer` does what is
due, step by step: it can be killed at any of them, and runs beside writers, readers and other maintainers.
"""
