#!/bin/sh
# Run once, when the volume of PostgreSQL in compose.yaml is empty: makes the database and its
# owner, who may migrate it and make the roles of the services, and is no superuser.
set -eu
psql --quiet --no-psqlrc --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres <<'SQL'
\getenv password NOETL_OWNER_PASSWORD
-- Only who may make databases may say of a role that it may not.
CREATE ROLE noetl LOGIN CREATEROLE CREATEDB PASSWORD :'password';
-- The owner of the schema gives log and commands to the orchestrator's role, so it has to be a
-- member of the roles that it makes.
ALTER ROLE noetl SET createrole_self_grant = 'set, inherit';
CREATE DATABASE noetl OWNER noetl;
SQL
