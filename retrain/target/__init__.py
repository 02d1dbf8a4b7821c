"""Whom a retrain is asked of: for each kind of target, the exact requests and what its answers mean.

Nothing here opens a connection, reads a clock or knows a schedule: a target says what to ask and judges what it is told
(`retrain.target.exchange`), and the sender asks.
"""
