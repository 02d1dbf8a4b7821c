"""Parts that every role needs to run: identity of the worker, health, back-off, crash points."""
