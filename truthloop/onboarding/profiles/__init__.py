"""What sampled records show of themselves: fields, forms of time, envelopes, what names hint at.

Samples of a topic come in; a profile of it goes out. Nothing is proposed here.
"""
