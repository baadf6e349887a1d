"""Calls to the control plane: claims, registration, large results."""
