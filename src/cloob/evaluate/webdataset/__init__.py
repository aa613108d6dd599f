"""Data sets in CLIP_benchmark's webdataset layout."""
