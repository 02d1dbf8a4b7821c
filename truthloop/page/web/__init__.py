"""The page over HTTP: access control, the routes, and the form through which a person rules about a backfill."""
