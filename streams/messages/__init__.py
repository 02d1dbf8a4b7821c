"""Messages of the loop's topics, and their conversion into the join's records and the lake's rows.

`wire` and `canonical` encode and decode predictions and labels; `outcome`, `reject` and `command` the other messages;
`records` and `lake_rows` convert frames. `schemas.events` publishes the models of all messages.
"""
