"""Multinomial logistic regression over a path of L2 strengths."""
