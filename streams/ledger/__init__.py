"""The ledger: what each step read, and where it left every counter, watermark and cursor.

One entry per transaction in the topic (`entry`, `topic`), one row in the lake (`row`, `table`). `rules` holds the
rules that were in force for a step; `lake_kind` tells a lake of replays from a live one.
"""
