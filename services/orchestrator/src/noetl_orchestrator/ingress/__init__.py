"""Receive messages and claims, and hand them to turns."""
