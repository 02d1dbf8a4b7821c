"""Writes a view as HTML and SVG, without scripts. Pure: the same view gives the same bytes."""
