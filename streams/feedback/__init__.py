"""The feedback role on Faust: commit notices wake it, one of its workers is active, and its decisions are published.

Its work is passed in as `Handlers`: evidence, the gate and the page live in `truthloop.feedback`.
"""
