"""Retrieval sets: images with one or several captions each, in three formats."""
