"""The page of a loop: what a person on call, an engineer and an analyst look at in a browser.

`gather` fills panels from the lake, `panels` says what they hold, `markup` writes them, `web` answers requests. HTML
and HTTP never open the lake.
"""
