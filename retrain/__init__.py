"""From evidence to a decision, and from a decision to one signed request for a retrain.

Decisions are kept in the lake and read from there, so none is made twice. Training is the receiving pipeline's job.
"""
