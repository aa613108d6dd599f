"""The contrastive objectives: InfoNCE and InfoLOOB, with and without Hopfield retrieval."""
