"""Schedules: documents that start a playbook at times of a clock, and the times they mean."""
