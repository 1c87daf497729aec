"""Solvers of the model for given weights."""
