"""Models of the config, of messages and of events, with published JSON Schemas; and the errors. No IO.

Imports pydantic, msgspec and the standard library only.
"""
