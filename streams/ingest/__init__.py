"""The ingest role: from source topics of any shape to the loop's canonical topics, exactly once.

Source records are read in `reader`, mapped in `mapper`, and sent as canonical messages or rejects in one transaction
with the source offsets.
"""
