"""Runs the product on one machine: a single role, all roles under a supervisor, or a replay of files."""
