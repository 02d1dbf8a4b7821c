"""Building blocks of configs and messages: base models, durations, times, closed vocabularies, validators, problems.

A field's value comes in as written, in YAML or JSON, and goes out in the form that the program uses.
"""
