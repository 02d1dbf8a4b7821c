"""The panels of the page as frozen values of builtin types, and the same as JSON, CSV and flat tables.

Pure: `gather` fills panels, `markup` writes them as HTML.
"""
