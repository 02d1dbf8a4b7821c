"""What flows and what is decided: messages, evidence, backfill episodes, judgements, retrain requests.

Each model is published as a JSON Schema by `schemas.publish`.
"""
