"""Evidence from outcomes: cells, coverage, metrics, nowcast, drift, backfills, versions. Pure functions over frames.

Rows of the lake come in and are counted in `cells`; everything else reads cells. `evaluation` puts a day's evidence
together, `finding` says it in sentences. Nothing here does IO, reads a clock, or decides.
"""
