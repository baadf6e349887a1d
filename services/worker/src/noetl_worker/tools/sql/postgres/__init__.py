"""The postgres tool."""
