"""Libraries of steps: resolved when a playbook is registered, read by workers."""
