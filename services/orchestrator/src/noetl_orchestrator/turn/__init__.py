"""Decide the inputs of many executions and commit the decisions in one statement."""
