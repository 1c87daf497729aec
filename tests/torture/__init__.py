"""Commands that are killed, cancelled and terminated at random moments: ``python -m tests.torture N``."""
