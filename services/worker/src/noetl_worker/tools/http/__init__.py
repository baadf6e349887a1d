"""The http tool."""
