"""What is wrong with a system: looked for at its edge, its broker, its databases and services."""
