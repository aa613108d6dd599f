"""Rendering tables and figures."""
