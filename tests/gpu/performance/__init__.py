"""Measurements that need the GPU for themselves; they are recorded in results/gpu.json."""
