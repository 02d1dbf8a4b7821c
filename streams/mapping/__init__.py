"""Maps foreign records to canonical predictions and labels: the config's source maps, applied to whole columns.

A record that cannot be mapped becomes a reject. Personal data is hashed or dropped here, before anything is stored.
"""
