"""Profiles of sampled topics: their fields, time formats and envelopes, and the meaning that field names suggest.

A `TopicSample` comes in and a `TopicProfile` goes out. `truthloop.onboarding.draft` interprets it.
"""
