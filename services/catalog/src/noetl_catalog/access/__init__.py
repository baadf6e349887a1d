"""Who may call the edges: API keys, grants, the access audit."""
