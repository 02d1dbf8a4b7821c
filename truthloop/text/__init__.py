"""Text that the page and the terminal share: formats of numbers, shares, times and ages; sentences about rulings.

Values go in, text comes out; control characters of the data are escaped.
"""
