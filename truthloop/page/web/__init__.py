"""The page over HTTP: who may ask, what is answered, and the form by which a person rules.

A request comes in; a view is asked of whoever fills it, and its HTML, JSON or CSV goes out.
"""
