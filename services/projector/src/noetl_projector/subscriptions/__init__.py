"""Reads of subscriptions: what listens for messages, and whether it is active."""
