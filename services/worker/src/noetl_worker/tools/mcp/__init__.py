"""The mcp tool."""
