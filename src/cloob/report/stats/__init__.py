"""Confidence intervals, significance tests and throughput."""
