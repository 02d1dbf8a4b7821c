"""The command line: one module for each command, and the helpers that commands share.

The commands read options, call the other packages and print: results on stdout, everything else on stderr.
"""
