"""Replicas of one shard: who is there, and who owns which executions."""
