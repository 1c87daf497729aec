"""What is made of a result: figures, reports, files of other programs."""
