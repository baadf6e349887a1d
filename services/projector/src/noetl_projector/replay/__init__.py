"""The state of an execution at any event of its log."""
