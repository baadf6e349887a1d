"""Routes of the catalog and of subscriptions."""
