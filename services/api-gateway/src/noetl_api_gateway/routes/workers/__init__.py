"""Routes that workers call: registration, commands, events."""
