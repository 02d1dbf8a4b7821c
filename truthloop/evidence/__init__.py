"""Reads the lake to make evidence: new rows, cells that are kept up to date, backfills.

Rows of the lake come in; frames for `monitor` go out. Cells and diffs are written back into the lake.
"""
