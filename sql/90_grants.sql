/*
 * Every user may call the API, which checks his rights on the table, and may
 * own a table whose trigger fires for any writer.
 */

REVOKE ALL ON FUNCTION zdm._sync_columns(regclass, name[], name[], text[], text[], text) FROM PUBLIC;
REVOKE ALL ON FUNCTION zdm._skip_applied() FROM PUBLIC;
REVOKE ALL ON FUNCTION zdm._guard() FROM PUBLIC;
REVOKE ALL ON FUNCTION zdm._guard_start() FROM PUBLIC;
