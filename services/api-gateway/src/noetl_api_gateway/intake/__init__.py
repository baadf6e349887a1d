"""What is decided about a request before it is routed: by name, origin, size and number."""
