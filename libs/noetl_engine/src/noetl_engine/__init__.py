"""What happens next: the pure playbook engine."""
