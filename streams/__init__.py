"""The edges: reading foreign records, mapping them to canonical frames, replaying them through the join.

May import joins, lake, schemas; never monitor or retrain.
"""
