"""Evidence about a model: cells, coverage, metrics, nowcast, drift, versions, backfills. Pure functions of frames.

`cells` counts the lake's rows, and everything else reads cells. `evaluation` collects the evidence of one day,
`finding` puts it into sentences. No IO, no clock, no decisions: `retrain` decides.
"""
