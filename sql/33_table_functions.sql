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
-- patterns that work on tables

CREATE FUNCTION zdm.join_table_to_column(
    join_table regclass, target regclass, column_name name,
    columns jsonb DEFAULT NULL, target_columns name[] DEFAULT NULL,
    value_columns name[] DEFAULT NULL, migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_join_table_to_column';
COMMENT ON FUNCTION zdm.join_table_to_column(regclass, regclass, name, jsonb, name[], name[], text) IS
'expand: a join table that has at most one row for each row of target becomes column column_name of target, with the foreign key that the join table has; both are readable and writable and in sync. target_columns, value_columns: the columns of the join table that refer to target and to what it is joined with, where its foreign keys do not tell. columns: the name in target of each further column that moves along, null for one that may go. Returns the migration''s name (argument migration, by default fold_JOIN_TABLE_into_TARGET_COLUMN). Errors: not the owner of both tables, several rows for one row of target (listed), no unique index that forbids them, columns that would be lost, name taken, tables in another migration, lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm.column_to_join_table(
    relation regclass, column_name name, join_table text,
    first_by text DEFAULT 'asc', migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_column_to_join_table';
COMMENT ON FUNCTION zdm.column_to_join_table(regclass, name, text, text, text) IS
'expand: a column becomes a join table that may hold several of its values for one row; join_table is its name (by default in the table''s schema), it is made with its keys and the table''s grants; both are readable and writable and in sync. Where there are several, the column shows the one whose value comes first (first_by asc) or last (desc). Returns the migration''s name (argument migration, by default spread_TABLE_COLUMN_into_JOIN_TABLE). Errors: not the owner, no such column, no primary key, a column that is NOT NULL, row security, name taken, column in another migration, lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm._mirror() RETURNS trigger LANGUAGE c
AS 'MODULE_PATHNAME', 'zdm__mirror';
COMMENT ON FUNCTION zdm._mirror() IS
'internal: the triggers ~zdm_mirror and their like, which write to the other table what is written to one of two that hold the same';

CREATE FUNCTION zdm._load() RETURNS boolean LANGUAGE c IMMUTABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm__load';
COMMENT ON FUNCTION zdm._load() IS
'internal: true. The statistics object on a mirrored table has the planner evaluate it, and so load the library before a statement begins that changes rows of that table';
