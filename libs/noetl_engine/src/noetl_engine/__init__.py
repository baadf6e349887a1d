"""The pure playbook engine: it decides the next rows and commands of an execution."""
