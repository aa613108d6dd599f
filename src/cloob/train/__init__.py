"""The train stage: train CLIP, CLOOB and the ablations on shards."""
