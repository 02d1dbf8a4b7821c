"""What the product reads from the lake to make evidence: new rows, cells kept up to date, backfills.

Rows of the lake come in; frames for `monitor` go out, and cells and diffs go back into the lake.
"""
