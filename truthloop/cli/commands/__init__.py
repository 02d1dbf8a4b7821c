"""The commands: one module and one function, or one group of functions, for each.

A command parses its options, calls the other packages and prints the result; `truthloop.__main__` registers it.
"""
