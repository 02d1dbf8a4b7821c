"""The first hour with topics that exist already: what their records are, and whether a config fits them.

Samples of topics come in (`profile`); a drafted config (`draft`) or the issues of a config (`check`) go out. `trial`
maps the samples as the product would. Nothing here talks to Kafka or prints.
"""
