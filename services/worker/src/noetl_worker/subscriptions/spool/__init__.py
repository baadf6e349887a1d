"""Storage of messages while nothing can be started, and their way back from it."""
