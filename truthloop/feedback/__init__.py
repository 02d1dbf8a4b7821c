"""The deciding role, put together: evidence from the lake, the gate, data sets, deliveries, the page.

What is decided here stands in the lake's `decisions`; this package must not keep truth of its own.
"""
