"""The lake role: from the loop's topics into the Delta tables, each record exactly once.

Messages are read in `reader`, wait in `buffer`, are cut at whole steps of the ledger by `cut`, and are written in one
commit per table. Where to read on comes from the lake (`progress`), never from Kafka.
"""
