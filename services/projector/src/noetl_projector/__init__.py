"""Answers to reads, the store of large results and variables, and the read model."""
