"""The subscription runtime: reads a source and starts an execution for each message.

A message is acknowledged only after its start was accepted under its key, so that what comes
again starts nothing twice.
"""
