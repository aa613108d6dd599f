"""Multinomial logistic regression along a path of L2 strengths; README.md derives the solver."""
