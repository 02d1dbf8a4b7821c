"""What flows through Truthloop, as models with published JSON Schemas: messages, config, mapping, errors.

Nothing here reads, writes or decides. May import pydantic, msgspec and the standard library only.
"""
