"""From `truthloop.yaml` and the environment to `Settings`, and everything that is said about a config.

Text comes in with its line numbers; a valid config goes out, or each fault with its line, the reason and the nearest
right name.
"""
