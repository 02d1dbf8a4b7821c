"""Access to Kafka: clients, the loop's topics, transactions, exact ranges of offsets, and bounded samples of topics.

Every client is made by `client`, so that no property that exactly-once needs can be forgotten.
"""
