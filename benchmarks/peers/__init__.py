"""Other systems that run the same ten steps, installed beside the repository's environment."""
