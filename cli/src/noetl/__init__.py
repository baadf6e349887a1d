"""The local stack and the operator commands."""
