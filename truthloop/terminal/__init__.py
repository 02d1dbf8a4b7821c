"""Terminal input and output: streams, tables, progress bars, the diff report of a backfill, typed instants."""
