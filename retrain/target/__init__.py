"""Retrain targets (webhook, Airflow, GitHub Actions, Prefect): the HTTP calls of each, and what its answers mean. Pure.

A target yields calls and interprets replies (`retrain.target.exchange`); `retrain.sender` makes the calls.
"""
