"""Providers of the secrets that playbooks name in their keychains."""
