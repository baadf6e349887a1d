"""Who calls, and what he may do: rights and roles, principals, capabilities of commands."""
