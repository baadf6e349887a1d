"""Where messages are kept while nothing can be started, and how they come back."""
