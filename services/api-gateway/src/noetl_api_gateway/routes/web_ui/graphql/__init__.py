"""`POST /graphql`: what the web UI asks of a gateway, and no more."""
