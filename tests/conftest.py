"""Fixtures that every test may ask for."""

from kafka_fixture import kafka

__all__ = ["kafka"]
