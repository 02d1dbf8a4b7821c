"""Models of the config, of messages and of events, with published JSON Schemas; and the errors. No IO.

Plain values from YAML or JSON come in, and validated models go out, or errors with a path (`schemas.base.problem`).
Imports pydantic, msgspec and the standard library only.
"""
