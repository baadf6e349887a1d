-- migrate:up
-- Documents with a WebAssembly module that steps run.
SET lock_timeout = '4s';

INSERT INTO noetl.resource (name, meta) VALUES
('plugin', '{"description": "Plug-in", "executable": false, "catalog": true}');

-- migrate:down
DELETE FROM noetl.catalog WHERE kind = 'plugin';
DELETE FROM noetl.resource WHERE name = 'plugin';
