"""Deliveries from outside that start executions."""
