"""Download stage: URL lists to images with captions, with row accounting."""
