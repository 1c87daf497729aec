"""What is drawn over the tissue."""
