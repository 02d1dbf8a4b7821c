"""Backfills: labels that restate the past, how they are detected, what they would change, and the rules' verdict.

Input: hourly label counts, and labels before and after. Output: episodes, diffs and verdicts. Rulings of people are
recorded by `retrain.approval`.
"""
