"""How the product speaks in a terminal: streams, tables, progress bars, the diff report.

Values come in; text of at most the terminal's width goes out.
"""
