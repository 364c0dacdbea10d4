/*
 * Columns that come, and that become mandatory or optional.
 *
 * add_column and set_not_null pin their search_path inside: types and
 * expressions in their arguments are the user's, resolved under his path once
 * and stored qualified.
 */

CREATE FUNCTION zdm.add_column(
    relation regclass, column_name name, type text,
    default_value text DEFAULT NULL, not_null boolean DEFAULT false,
    fill text DEFAULT NULL, generated text DEFAULT NULL,
    migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_add_column';
COMMENT ON FUNCTION zdm.add_column(regclass, name, text, text, boolean, text, text, text) IS
'expand: adds a column that the running version does not know; returns the migration''s name (by default add_TABLE_COLUMN). type: as in CREATE TABLE. default_value: an expression without columns; the rows that exist get it, too, each its own where it is volatile, without the table being written anew. not_null: the column is NOT NULL after contract; until then fill, an expression over the row''s columns (else default_value), gives the value where NULL is written, and the rows that exist theirs. generated: an expression over the row''s columns that the column always holds; a generated column after contract, where the server can do that without writing the table (18 and later). Errors: not the owner, name taken, no such type, a domain with constraints, arguments that do not go together, lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm.set_not_null(
    relation regclass, column_name name, fill text DEFAULT NULL,
    migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_set_not_null';
COMMENT ON FUNCTION zdm.set_not_null(regclass, name, text, text) IS
'expand: makes an optional column mandatory; returns the migration''s name (by default set_TABLE_COLUMN_not_null). fill: an expression over the row''s columns, the value that is stored where NULL is written, and that the rows get which hold NULL. Without it these rows are counted and named by the backfill and zdm.verify, and NULL is refused once there is none. Contract makes the column NOT NULL without a scan. Errors: not the owner, no such column, NOT NULL already, column in another migration, lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm.drop_not_null(
    relation regclass, column_name name, migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_drop_not_null';
COMMENT ON FUNCTION zdm.drop_not_null(regclass, name, text) IS
'expand: makes a mandatory column optional at once; returns the migration''s name (by default drop_TABLE_COLUMN_not_null), which is ready then. Until its contract, zdm.rollback makes the column mandatory again, without a scan under an exclusive lock, where no row holds NULL. Errors: not the owner, no such column, optional already, a column of the primary key, of the replica identity or an identity column, column in another migration, lock not had within zdm.lock_patience (55P03)';

/*
 * The end of a column, and of a table.  drop_column pins its search_path inside,
 * too.
 */

CREATE FUNCTION zdm.drop_column(
    relation regclass, column_name name, fill text DEFAULT NULL, migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'zdm_drop_column';
COMMENT ON FUNCTION zdm.drop_column(regclass, name, text, text) IS
'expand: a column that the new version of the application leaves out; contract drops it, with a quarantine it is hidden first. fill: an SQL expression over the row''s columns, evaluated once for a row, that gives a mandatory column without a default its value in the rows that the new version inserts. Returns the migration''s name (argument migration, by default drop_TABLE_COLUMN); it is ready at once. Errors: not the owner, no such column, mandatory without default and fill, fill where it has no use, primary or partition key, column in another migration, lock not had within zdm.lock_patience (55P03)';

CREATE FUNCTION zdm.drop_table(relation regclass, migration text DEFAULT NULL)
RETURNS text LANGUAGE c VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'zdm_drop_table';
COMMENT ON FUNCTION zdm.drop_table(regclass, text) IS
'expand: a table that the new version of the application does not use; contract drops it, with a quarantine it is hidden under another name first. Returns the migration''s name (argument migration, by default drop_TABLE); it is ready at once. Errors: not the owner, a partition, part of inheritance or of an extension, lock not had within zdm.lock_patience (55P03)';
