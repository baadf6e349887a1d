"""What playbooks, callers and people say about waits: times, forms, links."""
