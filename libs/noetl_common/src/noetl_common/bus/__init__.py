"""The message bus: connection, publishing, requests, standing pulls, topology."""
