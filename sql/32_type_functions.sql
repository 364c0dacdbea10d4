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
'expand: begins to change a column''s type to new_type without a rewrite under a lock; returns the migration''s name (argument migration, by default change_TABLE_COLUMN_to_TYPE). Columns that refer to it by foreign keys change with it. up, down: expressions over the row that make the new value and the old one; both call the column by its name, which means the old value in up and the new one in down (default: the cast). on_down_error: error (a value that down cannot convert fails the statement that writes it) or null (the old column gets NULL). views: refuse (where views use the column) or recreate (at contract). A change that touches the catalog alone is made at once. Errors: not the owner, no such column or type, no cast and no expression, what cannot be carried over to the new column (listed), lock not had within zdm.lock_patience (55P03)';
