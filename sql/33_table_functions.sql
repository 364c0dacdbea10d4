/*
 * Patterns that change whole tables.
 */

CREATE FUNCTION zdm.rename_table(
    relation regclass, new_name text, strategy text DEFAULT 'view',
    rename_owned boolean DEFAULT false, migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_rename_table';
COMMENT ON FUNCTION zdm.rename_table(regclass, text, text, boolean, text) IS
'expand: gives a table the second name new_name (as written in SQL, with or without a schema; the table moves to that schema), both readable and writable through a view; returns the migration''s name (argument migration, by default rename_TABLE_to_NEW). strategy: view (the table has the new name at once, the view the old one) or view_first (the view has the new name until contract). rename_owned: owned sequences, indexes and constraints that are named after the table get the new name when the old one goes. Errors: not the owner, no CREATE on a schema, name taken, table in another migration, row security together with column privileges, lock not had within zdm.lock_patience (55P03)';
