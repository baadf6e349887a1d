"""Bodies of workers: commands, registrations, the sharding they see."""
