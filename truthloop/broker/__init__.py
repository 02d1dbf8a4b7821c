"""A real Apache Kafka on this machine, for the demo, tests, benchmarks and developers.

Java comes from a wheel, the jars from Maven Central with pinned digests. Nothing in the running product needs it.
"""
