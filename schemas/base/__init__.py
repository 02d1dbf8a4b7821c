"""Building blocks of configs and messages: base models, durations, times, closed vocabularies, validators, problems."""
