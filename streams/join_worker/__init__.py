"""The join role: canonical topics in, outcomes, rejects and the ledger out, in one transaction per batch.

`role` polls and commits, `assignment` follows the group, `task` steps one partition, `recovery` brings a partition's
state to the committed checkpoint. The rules of joining are in `joins`.
"""
