"""What `truthloop check --live` finds: issues of a config with the topics it names, and a forecast of sizes.

Mapped samples and facts of topics come in; issues with their severity go out.
"""
