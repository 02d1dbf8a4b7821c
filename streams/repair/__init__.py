"""Takes records again that the mapping has rejected, once a changed mapping can read them.

`reject_log` reads the topic of rejects; `redrive` reads the records themselves, maps them, and sends them.
"""
