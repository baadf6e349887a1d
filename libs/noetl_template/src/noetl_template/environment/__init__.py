"""Functions, tests and operations that templates use."""
