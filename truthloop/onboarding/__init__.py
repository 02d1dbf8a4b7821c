"""Onboarding to existing topics: drafts a config from their records, and checks a config against them.

Samples of topics come in. `profiles` describes them; `draft` turns the profiles into a config; `trial` maps the samples
as the running product would; `check` reports the issues of a config. Nothing here talks to Kafka or prints.
"""
