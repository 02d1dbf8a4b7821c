"""Where the metrics of a young cohort will end: an estimate from the labels that are in and those that are not.

Panes of a day and the mature days before it come in; an estimate with an interval and hard bounds goes out.
"""
