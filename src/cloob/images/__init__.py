"""Decoding and validating images, and finding near-duplicates."""
