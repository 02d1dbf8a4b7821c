"""The one door to Kafka: clients, topics, transactions, exact ranges, and bounded samples of topics.

Other rooms ask for messages and hand over messages; the client library's types for messages stay in here.
"""
