"""Shards become checkpoints of CLOOB, CLIP and the ablations."""
