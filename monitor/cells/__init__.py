"""Cells: integer counts of predictions and outcomes by version, slice, day, kind and definition.

`fold` turns new rows of the lake into cells, which add up in any order. A correction subtracts the old outcome and adds
the new one, so cells are kept incrementally and can be restated.
"""
