"""What is built when, for whom."""
