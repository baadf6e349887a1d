"""The nats tool."""
