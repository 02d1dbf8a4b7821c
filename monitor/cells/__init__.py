"""Cells: integer counts of predictions and outcomes by version, slice, day, kind and definition.

New rows of the lake come in; counts that add up in any order go out. A correction takes the old amount out and puts the
new one in, so cells can be kept for years and restated. Nothing here is judged.
"""
