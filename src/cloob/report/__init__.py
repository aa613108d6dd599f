"""The report stage: tables and figures from result files, training logs and row accounting."""
