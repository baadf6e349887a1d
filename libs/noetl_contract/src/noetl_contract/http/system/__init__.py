"""Bodies of health, figures, SQL and internal routes."""
