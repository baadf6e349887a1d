"""The container tool, and where its containers run."""
