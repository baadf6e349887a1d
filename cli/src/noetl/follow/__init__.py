"""Running one playbook from the terminal and following it live."""
