"""What the page shows, as frozen values of builtin types, and the same as JSON, CSV and flat tables.

Nothing here reads anything: panels come from `gather` and go to `html`.
"""
