"""The demo: a real loop on real data, the flights that left New York in 2013.

A small model predicts two hours before departure whether a flight will arrive late; the label becomes
known when the plane is in. This package makes the files of such a company (`prepare`) and holds the config
that reads them (`truthloop.yaml`). It must not know how Truthloop joins or stores anything.
"""

__all__: list[str] = []
