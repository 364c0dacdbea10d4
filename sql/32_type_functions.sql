/*
 * Patterns that make one or several columns of other ones.  The types and
 * expressions in their arguments are the user's, resolved under his path once
 * and stored qualified: so the path is pinned inside.
 */

CREATE FUNCTION zdm.change_column_type(
    relation regclass, column_name name, new_type text,
    up text DEFAULT NULL, down text DEFAULT NULL,
    on_down_error text DEFAULT 'error', views text DEFAULT 'refuse',
    migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_change_column_type';
COMMENT ON FUNCTION zdm.change_column_type(regclass, name, text, text, text, text, text, text) IS
'expand: begins to change a column''s type to new_type without a rewrite under a lock; returns the migration''s name (argument migration, by default change_TABLE_COLUMN_to_TYPE). Columns that refer to it by foreign keys change with it. up, down: expressions over the row that make the new value and the old one; both call the column by its name, which means the old value in up and the new one in down (default: the cast). on_down_error: error (a value that down cannot convert fails the statement that writes it) or null (the old column gets NULL). views: refuse (where views or rules use the column) or recreate (contract drops them and makes them again, with owner, privileges, options, defaults, comments, triggers and rules; what cannot be is listed). A change that touches the catalog alone is made at once. Errors: not the owner, no such column or type, no cast and no expression, what cannot be carried over to the new column (listed), lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm.split_column(
    relation regclass, column_name name, "into" jsonb, down text,
    migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_split_column';
COMMENT ON FUNCTION zdm.split_column(regclass, name, jsonb, text, text) IS
'expand: splits column column_name of a table into new ones, both shapes readable and writable and in sync; returns the migration''s name (argument migration, by default split_TABLE_COLUMN). into: an object with a field for each new column, {"NAME": {"type": a type, "up": an SQL expression over the row''s columns that makes the new column from the old one}}, and where wanted "default_value" (an expression without columns) and "not_null" (true: the column is NOT NULL after contract, and a NULL in it is refused once the rows are filled); down: an expression that makes the old column from the new ones. Errors: not the owner, no such column, name taken, column in another migration, into not as described, type or expression not usable (with the place), lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm.merge_columns(
    relation regclass, columns name[], new_name name, new_type text,
    up text, down jsonb,
    default_value text DEFAULT NULL, not_null boolean DEFAULT false,
    migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_merge_columns';
COMMENT ON FUNCTION zdm.merge_columns(regclass, name[], name, text, text, jsonb, text, boolean, text) IS
'expand: merges columns of a table into the new column new_name of type new_type, both shapes readable and writable and in sync; returns the migration''s name (argument migration, by default merge_TABLE_into_NEW). up: an SQL expression over the row''s columns that makes the new column from the old ones; down: an object with an expression for each of the columns, {"COLUMN": an expression that makes it from the new one}. default_value: an expression without columns, the new column''s default. not_null: the new column is NOT NULL after contract, and a NULL in it is refused once the rows are filled. Errors: not the owner, no such column, name taken, column in another migration, down not as described, type or expression not usable (with the place), lock not had within zdm.lock_patience (55P03)';
