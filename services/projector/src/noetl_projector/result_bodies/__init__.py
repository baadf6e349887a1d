"""Where the bodies of large results lie when they are not in the database (docs/results.md)."""
