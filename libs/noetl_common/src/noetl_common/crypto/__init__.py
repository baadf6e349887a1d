"""Encryption of stored secrets and of answers to one worker, without I/O."""
