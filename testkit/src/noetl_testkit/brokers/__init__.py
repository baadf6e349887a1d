"""Brokers of messages for tests: real ones, and one emulator that is true to its protocol."""
