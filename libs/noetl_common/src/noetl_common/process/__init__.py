"""A process: its end and protection, its extensions, and measurements for its metrics."""
