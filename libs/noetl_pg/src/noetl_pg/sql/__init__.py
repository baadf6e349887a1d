"""SQL text: named statements, tokens, patterns."""
