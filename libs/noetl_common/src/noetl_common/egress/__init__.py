"""Rules for outgoing connections to targets that clients and playbooks choose."""
