"""The evaluate stage: one result file per (run, epoch, test set, protocol)."""
