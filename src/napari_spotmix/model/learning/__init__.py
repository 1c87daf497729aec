"""What is learned from the section, and by which evidence."""
