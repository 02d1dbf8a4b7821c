"""From profiles of topics to the text of a config, each line with its reason.

Profiles come in; `run` gives the draft, tried on the samples it was made from.
"""
