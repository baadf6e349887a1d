"""Documents and messages of subscriptions, for the edge and the subscription runtime."""
