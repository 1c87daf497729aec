"""What `docs/explanation/trust.md` promises, each promise with its test."""
