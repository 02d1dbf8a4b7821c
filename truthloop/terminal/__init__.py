"""Terminal input and output: streams, tables, progress bars, the diff report of a backfill, typed instants.

Values go in, text comes out; commands decide what is printed.
"""
