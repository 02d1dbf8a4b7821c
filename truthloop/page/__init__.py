"""The page of a loop: what a person on call, an engineer and an analyst look at in a browser.

`view` and `panel` say what is shown, `render` makes HTML of it, `download` JSON and CSV, `web` answers over
HTTP. Nothing here reads the lake, Kafka or a clock: somebody else fills a `View`.
"""
