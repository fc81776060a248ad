"""Manifolds: X -> Z -> X."""
