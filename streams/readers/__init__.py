"""One reader per source format: CSV, Parquet, JSON lines, JSON messages, CloudEvents, and a user's own function (hook).

Readers turn bytes into raw columns with record numbers, and reject records that cannot be parsed. `streams.mapping`
gives the columns their meaning.
"""
