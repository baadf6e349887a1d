"""Runs tools."""
