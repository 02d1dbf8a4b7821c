"""Seeds a new loop's topics before its roles start: with history from files, or with all records of another loop."""
