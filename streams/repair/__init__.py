"""Takes records again that the mapping has rejected, once a changed mapping can read them.

`reject_log` reads the topic of rejects, `source_records` the records themselves, and `redrive` maps and sends them.
"""
