"""From evidence to a decision, and from a decision to one signed request for a retrain.

This package must not read Kafka, train anything, or decide twice: what was decided stands in the lake.
"""
