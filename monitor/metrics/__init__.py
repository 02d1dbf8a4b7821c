"""Metrics under River's names: computed from cells with a maturity status, or live with River itself.

Estimates of the final metrics of a young cohort are in `monitor.nowcast`.
"""
