"""The two ways commands are claimed and reported."""
