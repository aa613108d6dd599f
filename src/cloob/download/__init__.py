"""Lists of captions and links become images with captions; every row is accounted for."""
