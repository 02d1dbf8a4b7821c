"""Metrics from cells under River's names, and live River metrics, each with how far it can be trusted.

Cells come in; values with a status go out. A young cohort's estimate is in `monitor.nowcast`.
"""
