"""Reading result files, logs and published numbers."""
