"""Providers of secrets: Google, AWS, Azure, Kubernetes and Vault."""
