"""Image files from the web: decoding, limits on their structure, near-duplicates."""
