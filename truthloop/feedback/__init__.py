"""The feedback role, put together: evidence from the lake, the gate, data sets, deliveries, the page.

A look at the lake comes in, entries of the log and requests go out. What is decided stands in the lake's `decisions`;
nothing here keeps truth of its own.
"""
