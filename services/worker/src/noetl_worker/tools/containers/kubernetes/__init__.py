"""Containers as Kubernetes Jobs."""
