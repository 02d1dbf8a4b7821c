"""Fixtures that every test may ask for."""

from kafka_fixture import kafka
from object_store import bucket, proxy

__all__ = ["bucket", "kafka", "proxy"]
