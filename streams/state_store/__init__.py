"""The durable state of the join: one RocksDB database for each partition, and its restore from the lake.

`store` answers like `joins.store.MemoryStore` and keeps changes in memory until a flush; `index` and `database` are its
parts. `restore` fills it from the lake where a state was lost.
"""
