"""Writes to executions, sent by one sender that the edge, workers and the catalog share."""
