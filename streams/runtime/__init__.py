"""What every role needs to run, whatever it does: its place in a group, its health, its back-off, its crash points.

No record passes through here.
"""
