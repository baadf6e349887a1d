"""Failures as events, rows and answers tell them."""
