-- migrate:up
-- Bodies of results may lie outside the database; the row says where.
SET lock_timeout = '4s';
SET statement_timeout = '5s';

ALTER TABLE noetl.result_store
    ALTER COLUMN data DROP NOT NULL,
    ADD COLUMN store TEXT NOT NULL DEFAULT 'db',
    ADD COLUMN location TEXT;
CREATE INDEX result_store_location ON noetl.result_store (location) WHERE location IS NOT NULL;
CREATE INDEX result_store_expires ON noetl.result_store (expires_at) WHERE expires_at IS NOT NULL;

-- Bodies to remove at a time unless a result names them then. A row is written before its body
-- (the result may never come), and when results are deleted.
CREATE TABLE noetl.result_body_removal (
    store TEXT NOT NULL,
    location TEXT NOT NULL,
    due_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    tries INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (store, location)
);
CREATE INDEX idx_result_body_removal_due ON noetl.result_body_removal (due_at);

CREATE FUNCTION noetl.remove_result_bodies() RETURNS TRIGGER
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO noetl.result_body_removal (store, location)
    SELECT d.store, d.location
    FROM deleted_results AS d
    WHERE d.location IS NOT NULL
    ON CONFLICT (store, location) DO UPDATE SET due_at = now();
    RETURN NULL;
END;
$$;

CREATE TRIGGER result_bodies_removed
AFTER DELETE ON noetl.result_store
REFERENCING OLD TABLE AS deleted_results
FOR EACH STATEMENT EXECUTE FUNCTION noetl.remove_result_bodies();

-- migrate:down
DROP TRIGGER result_bodies_removed ON noetl.result_store;
DROP FUNCTION noetl.remove_result_bodies();
DROP TABLE noetl.result_body_removal;
DELETE FROM noetl.result_store WHERE data IS NULL;
ALTER TABLE noetl.result_store
    DROP COLUMN location,
    DROP COLUMN store,
    ALTER COLUMN data SET NOT NULL;
