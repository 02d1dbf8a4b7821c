"""Reads `truthloop.yaml` and the environment into `Settings`, or reports each error with its line and the nearest name.

Also describes a valid config: a summary, a table of ages, warnings.
"""
