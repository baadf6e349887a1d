"""Store the log, the commands and the outbox rows of one shard."""
