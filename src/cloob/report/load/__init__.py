"""Readers of result files, training logs, row accounting, shard manifests and the paper's results."""
