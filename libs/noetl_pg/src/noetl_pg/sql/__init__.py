"""SQL text: named statements, tokens and patterns."""
