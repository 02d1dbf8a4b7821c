"""The canonical messages on the wire, and the way between messages, records of the join and rows of the lake.

Canonical frames come in and messages go out, and the reverse. What a message means is said in `schemas.events`.
"""
