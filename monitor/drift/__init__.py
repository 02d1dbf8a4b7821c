"""Drift and data quality: whether errors, losses, inputs, outputs or labels differ from the weeks before.

Input: daily counts. Output: checks, each with a level; `monitor.finding` turns them into sentences.
"""
