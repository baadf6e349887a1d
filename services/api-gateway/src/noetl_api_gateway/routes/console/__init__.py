"""The console: its pages over HTTP, its files, and its login."""
