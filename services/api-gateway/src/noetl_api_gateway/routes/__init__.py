"""Routes, one folder per group of resources."""
