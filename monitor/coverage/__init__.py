"""Coverage: the share of a cohort that has its label by an age, the share to expect, and whether labels get lost.

Cells and panes come in; tables, alerts and the liveness of label sources come out.
"""
