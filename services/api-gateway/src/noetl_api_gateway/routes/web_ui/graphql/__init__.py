"""`POST /graphql`: the part of a gateway's schema that the web UI uses."""
