"""Readers of URL lists, one module per format, and the registry of them."""
