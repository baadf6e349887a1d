"""Reads answered by two servers, and how their answers differ."""
