"""The web page of a loop, for a person on call, an engineer and an analyst.

`gather` fills panels from the lake, `panels` defines them, `markup` writes them as HTML, `web` serves them over HTTP.
"""
