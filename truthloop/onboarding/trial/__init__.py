"""Trial of a config on sampled records: canonical frames, rejects, and the delays of labels.

Samples and a config come in; what the running product would make of them goes out.
"""
