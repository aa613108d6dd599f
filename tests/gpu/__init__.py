"""Acceptance tests on GPUs: `make gpu`."""
