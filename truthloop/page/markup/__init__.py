"""From a view to HTML and SVG, without a script. Pure: the same view gives the same bytes.

A `View` comes in; a page goes out, escaped.
"""
