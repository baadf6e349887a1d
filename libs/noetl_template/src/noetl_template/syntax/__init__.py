"""From the text of a template to Python code."""
