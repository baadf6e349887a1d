"""The local stack: brokers, databases and services as supervised processes."""
