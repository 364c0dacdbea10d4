/* zdm: zero-downtime schema migrations */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION zdm" to load this file. \quit

SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE SCHEMA zdm;
COMMENT ON SCHEMA zdm IS
'zero-downtime schema migrations: functions, views and catalog of the extension zdm';
GRANT USAGE ON SCHEMA zdm TO PUBLIC;
