"""Containers of a Docker or Podman engine, by its API."""
