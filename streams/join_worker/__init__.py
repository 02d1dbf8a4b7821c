"""The join role: canonical topics in, outcomes, rejects and the ledger out, in one transaction per batch.

`role` polls and commits, `assignment` follows the consumer group, `task` steps one partition, and `recovery` restores a
partition's state at its committed position. The rules of joining are in `joins`.
"""
