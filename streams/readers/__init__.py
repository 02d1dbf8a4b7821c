"""One reader for each written form: CSV, Parquet, JSON lines, JSON messages, CloudEvents, a user's own function.

Bytes come in; raw columns with their record numbers go out, and a reject for every record that has no usable form.
What a field means is decided in `streams.mapping`.
"""
