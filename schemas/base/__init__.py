"""What configs and messages share: durations, instants, closed vocabularies, validators, problems in words.

Plain values come in and checked values go out. Nothing here knows a config or a message.
"""
