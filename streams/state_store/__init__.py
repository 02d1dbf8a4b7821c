"""The durable state of the join: one RocksDB database per partition task, and its restore from the lake.

A key's state comes in from the join at a flush and goes out when its key is read. Nothing here decides what a state
should be.
"""
