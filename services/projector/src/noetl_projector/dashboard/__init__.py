"""Numbers of the dashboard."""
