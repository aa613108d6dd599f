"""Metrics of embeddings and predictions."""
