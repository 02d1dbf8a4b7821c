"""How a loop begins with a past: from files (`history`), or from all that another loop knows (`rescale`).

Records come in from files or a finished lake and go out to the new loop's topics before its roles start.
"""
