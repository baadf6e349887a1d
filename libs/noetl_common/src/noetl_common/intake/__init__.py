"""What a client may cost an HTTP port before a request is one: bytes, time, connections."""
