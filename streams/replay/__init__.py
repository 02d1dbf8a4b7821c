"""Files through the join into a lake, without a broker: the nightly job, and the demo's fallback.

Files come in as canonical frames, are sorted and aligned in time, stepped through the join, and written by `writer`,
ledger first.
"""
