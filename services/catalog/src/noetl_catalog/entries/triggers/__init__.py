"""Documents of kind Trigger, which start playbooks when executions end."""
