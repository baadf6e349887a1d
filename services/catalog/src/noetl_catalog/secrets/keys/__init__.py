"""Encryption of stored secrets and rotation of its keys."""
