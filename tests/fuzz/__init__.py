"""Mutants of every kind of file, put through the doors that users have: ``python -m tests.fuzz N``."""
