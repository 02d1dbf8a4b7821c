"""One model version held against another: comparison, contract, succession, rollback.

Shared labels and first predictions of both come in; a verdict with its reasons goes out, never an act.
"""
