"""Requests and messages to the services behind the edge."""
