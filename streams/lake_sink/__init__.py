"""The lake role: from the loop's topics into the Delta tables, each record exactly once.

Messages come in through `reader`, wait in `buffer`, are cut at whole steps of the ledger by `cut`, and leave in one
commit per table. Where to read on is asked of the lake (`progress`), never of Kafka.
"""
