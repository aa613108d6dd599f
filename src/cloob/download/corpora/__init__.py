"""Readers of URL lists, one module per format, and their registry."""
