"""What is measured, each under a name."""
