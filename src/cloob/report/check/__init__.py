"""Open the report in a browser, and find what a reader could not read."""
