"""Scorers and rules for scikit-learn's searches."""
