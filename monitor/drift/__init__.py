"""Whether errors, inputs, outputs or data quality are unlike what they were.

Daily counts come in; checks with a level go out. Sentences about them are made in `monitor.finding`.
"""
