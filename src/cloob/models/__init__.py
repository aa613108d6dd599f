"""CLIP models: building, loading, converting and exporting them."""
