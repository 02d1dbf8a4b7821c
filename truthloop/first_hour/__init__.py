"""The first hour with topics that exist already: what their records are, and whether a config fits them.

From sampled records to a drafted config (`truthloop new --from-topic`) and to findings (`truthloop check --live`).
Nothing here talks to Kafka or prints: samples come in, texts and findings go out.
"""
