"""Authentication and rights of callers, and the audit of decisions."""
