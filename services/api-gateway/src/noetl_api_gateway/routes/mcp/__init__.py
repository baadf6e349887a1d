"""`/mcp`: playbooks as tools of the Model Context Protocol."""
