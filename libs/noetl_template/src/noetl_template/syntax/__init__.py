"""Translation of a template's text to Python code."""
