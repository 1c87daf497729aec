"""What is made from a result: figures, reports, files for other programs."""
