"""Generators: p(Z), drawn by `sample`."""
