"""Reads of subscriptions, and whether each is active."""
