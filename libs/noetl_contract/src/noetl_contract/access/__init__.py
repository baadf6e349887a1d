"""Access control: rights and roles, principals, API keys, capabilities of commands."""
