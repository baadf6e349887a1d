"""Secrets at rest and on their way to one worker; no I/O, and randomness is a parameter."""
