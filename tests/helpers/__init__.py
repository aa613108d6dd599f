"""Helpers of the tests: servers, oracles and generators."""
