"""What a process reports about itself to people."""
