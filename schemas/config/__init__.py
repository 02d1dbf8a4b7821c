"""The loop's config, `truthloop.yaml`, as strict models, a module for each group of sections.

`schemas.config.loop.LoopConfig` validates plain values; problems carry their path in the config.
"""
