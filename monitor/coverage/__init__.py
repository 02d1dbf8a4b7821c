"""Which share of a cohort has its label by an age, what share is usual, and whether the label pipeline loses some.

Cells and panes come in; a table, an alert or a source's liveness goes out.
"""
