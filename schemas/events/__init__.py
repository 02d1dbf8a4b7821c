"""Models of everything that is exchanged or logged: messages, evidence, decisions, backfills, retrain requests.

`schemas.publish` publishes their JSON Schemas.
"""
