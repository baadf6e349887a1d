"""What a process shows of itself, and what it hides."""
