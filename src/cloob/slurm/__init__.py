"""Check that the Slurm profile fits the cluster."""
