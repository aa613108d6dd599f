"""Train a run on shards: checkpoints of CLOOB, CLIP and the ablations."""
