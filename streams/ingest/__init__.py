"""The ingest role: from source topics of any shape to the loop's canonical topics, exactly once.

A source record comes in through `reader`, is mapped in `mapper`, and leaves as a canonical message or a reject in one
transaction with the source's offset. No state of the join is known here.
"""
