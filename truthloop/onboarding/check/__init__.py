"""`truthloop check --live`: issues of a config with the topics that it names, and a forecast of rates and sizes.

Samples and settings of topics come in; issues with a severity, and a report of them, go out.
"""
