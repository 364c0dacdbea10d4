/*
 * Patterns that make columns of others by expressions.  They do not pin their
 * search_path: the types and expressions in their arguments are the user's,
 * resolved under his path once and stored qualified.
 */

CREATE FUNCTION zdm.split_column(
    relation regclass, column_name name, "into" jsonb, down text,
    migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_split_column';
COMMENT ON FUNCTION zdm.split_column(regclass, name, jsonb, text, text) IS
'expand: splits column column_name of a table into new ones, both shapes readable and writable and in sync; returns the migration''s name (argument migration, by default split_TABLE_COLUMN). into: an object with a field for each new column, {"NAME": {"type": a type, "up": an SQL expression over the row''s columns that makes the new column from the old one}}; down: an expression that makes the old column from the new ones. Errors: not the owner, no such column, name taken, column in another migration, into not as described, type or expression not usable (with the place), lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm.merge_columns(
    relation regclass, columns name[], new_name name, new_type text,
    up text, down jsonb, migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_merge_columns';
COMMENT ON FUNCTION zdm.merge_columns(regclass, name[], name, text, text, jsonb, text) IS
'expand: merges columns of a table into the new column new_name of type new_type, both shapes readable and writable and in sync; returns the migration''s name (argument migration, by default merge_TABLE_into_NEW). up: an SQL expression over the row''s columns that makes the new column from the old ones; down: an object with an expression for each of the columns, {"COLUMN": an expression that makes it from the new one}. Errors: not the owner, no such column, name taken, column in another migration, down not as described, type or expression not usable (with the place), lock not had within zdm.lock_patience (55P03)';
