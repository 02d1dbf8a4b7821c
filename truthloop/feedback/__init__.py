"""The feedback role: reconciles gate and lake, writes data sets, delivers requests, takes callbacks, serves the page.

All state is in the lake; decisions are entries of its table `decisions`.
"""
