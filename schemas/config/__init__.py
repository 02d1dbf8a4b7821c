"""The loop's config, `truthloop.yaml`, in strict models: one module a section.

What a person wrote comes in as plain values; `LoopConfig` goes out, or problems with their place in it.
"""
