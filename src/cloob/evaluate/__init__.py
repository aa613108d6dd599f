"""Checkpoints meet test sets: one result file per (run, epoch, dataset, protocol)."""
