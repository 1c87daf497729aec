"""The parts of the dock."""
