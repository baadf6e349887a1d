"""Lines that steps print."""
