"""State of an execution: the fold of its log, and the values that its rows hold."""
