"""Shared by all stages: user-facing errors, file I/O, locks, processes, archives, HTTP downloads."""
