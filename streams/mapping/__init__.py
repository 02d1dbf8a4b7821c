"""From foreign records to canonical frames: the source maps of the config, applied to whole chunks of columns.

Raw columns come in; canonical predictions and labels go out, with a reject for every record that cannot be one.
Personal data is hashed or dropped here, before anything is written.
"""
