-- What operators and push listeners ask the catalog for (http-b 9.2 and 10.9).

-- name: purge_runtimes
-- Removes worker pools that were silent for so many minutes. $1 minutes
WITH removed AS (
    DELETE FROM noetl.runtime
    WHERE
        kind = 'worker_pool'
        AND heartbeat < now() - make_interval(mins => $1::INTEGER)
    RETURNING 1
)

SELECT count(*) FROM removed;

-- name: list_newest_subscriptions
-- The newest version of each path of that kind, without those that were taken out. $1 limit
SELECT n.path, n.catalog_id, n.content
FROM (
    SELECT DISTINCT ON (c.path) c.path, c.catalog_id, c.content, c.kind
    FROM noetl.catalog AS c
    WHERE c.deleted_at IS NULL
    ORDER BY c.path, c.version DESC
) AS n
WHERE lower(n.kind) = 'subscription'
ORDER BY n.path
LIMIT $1;
