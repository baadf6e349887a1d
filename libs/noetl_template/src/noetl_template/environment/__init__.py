"""Names and operations that templates find when they run."""
