"""Schemas of the values of topics: asked of a Schema Registry by their ids, and kept.

The id in a value's header comes in, the decoder that reads the rest goes out. A registry that does not answer makes
ingest wait; nothing is rejected for that.
"""
