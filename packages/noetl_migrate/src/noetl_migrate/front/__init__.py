"""An existing NoETL server behind the same door: its routes, and the executions it began."""
