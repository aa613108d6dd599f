"""Metrics of embeddings and of predictions, as functions of tensors."""
