"""The shell of the feedback role on Faust: wake-ups by commit notices, one active worker, published decisions.

What the role does is handed in by the product: nothing here knows evidence, the gate or the page.
"""
