"""Places for the bodies of large results."""
