"""The console over HTTP: pages, files and login."""
