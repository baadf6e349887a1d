-- Reads of subscriptions, on the shard's database.

-- list: subscription
SELECT
    s.subscription_id, s.path, s.catalog_id, s.state, s.last_event_type, s.updated_at
FROM noetl.subscription AS s;

-- name: list_subscriptions
-- All subscriptions by id, up to a limit. $1 limit
SELECT {subscription}
FROM noetl.subscription AS s
ORDER BY s.subscription_id
LIMIT $1;

-- name: find_subscription
-- $1 id
SELECT {subscription}
FROM noetl.subscription AS s
WHERE s.subscription_id = $1;
