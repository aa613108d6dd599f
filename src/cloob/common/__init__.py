"""What all stages share: errors, atomic files, locks, processes, archives and HTTP downloads."""
