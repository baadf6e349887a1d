"""The transfer tool."""
