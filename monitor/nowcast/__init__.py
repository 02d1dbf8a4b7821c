"""Nowcast: the final metrics of a young cohort, estimated from the labels that arrived and the rows that still wait.

Input: panes of a day and of the mature days before it. Output: an estimate with a conformal interval and hard bounds.
"""
