"""The demo: a feedback loop on real data, the flights that left New York in 2013.

A small model predicts two hours before departure whether a flight will arrive late; the label is known when the plane
has arrived. `prepare` writes the files of such a company, `truthloop.yaml` maps them, `live` runs loop and company.
"""
