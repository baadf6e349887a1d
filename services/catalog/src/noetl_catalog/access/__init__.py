"""Access to the edges: API keys, grants, the access audit."""
