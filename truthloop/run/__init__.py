"""Runs the product on one machine: a single role, all roles under a supervisor, or a replay of files.

A config goes in; a role works until it is stopped, a replay returns its summary.
"""
