/*-------------------------------------------------------------------------
 *
 * drop_not_null.c
 *	  Make a mandatory column optional.
 *
 * expand	DROP NOT NULL: a change of the catalog
 * migrate	nothing: ready at once
 * contract, finish	nothing: the migration is forgotten, and with it the way
 *			back
 * rollback	the column becomes mandatory again, where no row holds NULL; the
 *			rows that do are listed otherwise.  SET NOT NULL would read the
 *			table under an exclusive lock to find that out, so the first call
 *			only adds a check that refuses NULL from then on, the migrate phase
 *			validates it (schema/not_null.c), and the same call then ends it.
 *			A contract in between gives the rollback up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "backfill/verify.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/mandatory.h"
#include "schema/not_null.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static void note_names(ZdmMigration *migration);
static List *own_names(ZdmMigration *migration);

static char *
column(ZdmMigration *migration)
{
	return linitial(migration->new_columns);
}

/*
 * What needs the column to be NOT NULL, of the table or of a partition, or
 * NULL.
 */
static char *
why_mandatory(Oid relid, const char *name)
{
	static const char *const sql =
		"SELECT CASE WHEN i.indisprimary THEN 'the primary key' ELSE 'the replica identity' END"
		" OPERATOR(pg_catalog.||) ' ' OPERATOR(pg_catalog.||) pg_catalog.quote_ident(c.relname)"
		" FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) i.indexrelid"
		" WHERE i.indrelid OPERATOR(pg_catalog.=) $1 AND (i.indisprimary OR i.indisreplident)"
		" AND $2 OPERATOR(pg_catalog.=) ANY (i.indkey) ORDER BY NOT i.indisprimary";
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		List	   *found = zdm_query_strings(sql,
											  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))),
													   ZDM_ARG(INT2OID, Int16GetDatum(get_attnum(lfirst_oid(lc), name)))));

		if (found != NIL)
			return psprintf("%s of table \"%s\"", (char *) linitial(found), get_rel_name(lfirst_oid(lc)));
	}
	return NULL;
}

static void
check(ZdmMigration *migration, Relation rel)
{
	const char *name = column(migration);
	AttrNumber	attnum;
	char	   *reason;

	zdm_check_shape(rel);
	attnum = zdm_check_user_column(rel, name);
	zdm_check_single_migration(migration->relation, migration->new_columns);
	if (!zdm_column_is_not_null(migration->relation, name))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("column \"%s\" of table \"%s\" is optional already", name,
					   RelationGetRelationName(rel)),
				errhint("See \\d %s.", zdm_quote_relation(migration->relation)));
	if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attidentity)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" of table \"%s\" is an identity column", name,
					   RelationGetRelationName(rel)),
				errdetail("An identity column is always NOT NULL."),
				errhint("ALTER TABLE %s ALTER COLUMN %s DROP IDENTITY; first.",
						zdm_quote_relation(migration->relation), quote_identifier(name)));
	reason = why_mandatory(migration->relation, name);
	if (reason != NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" of table \"%s\" cannot become optional", name,
					   RelationGetRelationName(rel)),
				errdetail("It is in %s.", reason),
				errhint("Give the table another key first, by ALTER TABLE ... ADD PRIMARY KEY USING INDEX or REPLICA IDENTITY."));

	note_names(migration);
}

/*
 * The argument that has the name of a table's NOT NULL.
 */
static char *
name_argument(ZdmMigration *migration, Oid relid)
{
	return relid == migration->relation ? pstrdup("_constraint")
		: psprintf("_constraint of %s", zdm_quote_relation(relid));
}

/*
 * By the names that the constraints have a rollback makes them again.  Those
 * of most partitions are their parent's.
 */
static void
note_names(ZdmMigration *migration)
{
	char	   *common = zdm_not_null_constraint(migration->relation, column(migration));
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(migration->relation))
	{
		Oid			relid = lfirst_oid(lc);
		char	   *name = zdm_not_null_constraint(relid, column(migration));
		char	   *argument = name_argument(migration, relid);

		if (name != NULL && zdm_argument(migration, argument) == NULL &&
			(relid == migration->relation || common == NULL || strcmp(name, common) != 0))
			zdm_set_argument(migration, argument, name);
	}
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	return list_make1(zdm_not_null_drop_step(migration, column(migration)));
}

/*
 * Only a rollback that has begun has something to do: the validation.
 */
static List *
migrate(ZdmMigration *migration)
{
	return zdm_rolling_back(migration)
		? list_make1(llast(zdm_not_null_proof(migration, column(migration)))) : NIL;
}

static List *
statements(ZdmMigration *migration)
{
	return zdm_rolling_back(migration)
		? zdm_not_null_proof_left(migration, column(migration)) : NIL;
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	return zdm_not_null_give_up_steps(migration, column(migration));
}

static List *
finish(ZdmMigration *migration)
{
	return NIL;
}

/*
 * NULLs are looked for before anybody is refused to write them.
 */
static List *
prepare_rollback(ZdmMigration *migration)
{
	const char *name = column(migration);
	int64		rows;
	List	   *sample;

	if (zdm_not_null_proved(migration, name))
		return NIL;
	rows = zdm_null_rows(migration->relation, name, &sample);
	if (rows > 0)
		ereport(ERROR,
				errcode(ERRCODE_NOT_NULL_VIOLATION),
				errmsg(INT64_FORMAT " %s of table \"%s\" %s NULL in column \"%s\"",
					   rows, rows == 1 ? "row" : "rows",
					   zdm_relation_label(migration->relation),
					   rows == 1 ? "holds" : "hold", name),
				errdetail("%s %s.", rows > ZDM_VERIFY_SAMPLE ? "The first are" : "These are",
						  zdm_names_text(sample)),
				errhint("UPDATE %s SET %s = ... WHERE %s IS NULL; then run the same call again.",
						zdm_quote_relation(migration->relation),
						quote_identifier(name), quote_identifier(name)));
	if (zdm_not_null_demanded(migration, name))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("the rollback of migration \"%s\" waits until every row is checked",
					   migration->name),
				errhint("SELECT zdm.start(%s); then CALL zdm.wait(%s); and the same call again.",
						quote_literal_cstr(migration->name), quote_literal_cstr(migration->name)));
	return list_make1(linitial(zdm_not_null_proof(migration, name)));
}

static List *
rollback(ZdmMigration *migration)
{
	const char *constraint = zdm_argument(migration, "_constraint");

	return list_concat(list_concat(zdm_not_null_proof_left(migration, column(migration)),
								   own_names(migration)),
					   zdm_not_null_set_steps(migration, column(migration), constraint));
}

/*
 * The steps that make the partitions' constraints first that have other names:
 * what is there by then keeps its name.
 */
static List *
own_names(ZdmMigration *migration)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(migration->relation))
	{
		Oid			relid = lfirst_oid(lc);
		const char *name = zdm_argument(migration, name_argument(migration, relid));

		if (relid != migration->relation && name != NULL &&
			!zdm_column_is_not_null(relid, column(migration)))
			steps = lappend(steps,
							zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock, "make the partition's column mandatory",
										psprintf("ALTER TABLE %s ADD CONSTRAINT %s NOT NULL %s",
												 zdm_quote_relation(relid), quote_identifier(name),
												 quote_identifier(column(migration)))));
	}
	return steps;
}

static void
guard(ZdmMigration *migration, Relation rel)
{
	zdm_guard_column(migration, column(migration));
	if (zdm_rolling_back(migration))
		zdm_guard_not_null(migration, column(migration));
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	const char *name = quote_identifier(column(migration));
	List	   *result = NIL;

	if (zdm_column_refuses_null(rel, column(migration)))
		result = list_make1(zdm_note(true, "a NULL in %s is still refused: by its type, a domain, or by a CHECK constraint on the column",
									 name));
	result = lappend(result,
					 zdm_note(false, "a version that does not expect NULL in %s must not run beside one that writes it",
							  name));
	return lappend(result,
				   zdm_note(false, "a rollback is refused while rows hold NULL in %s; otherwise it takes two calls, between which every row is checked in the background, and from the first one on NULL is refused",
							name));
}

const ZdmPattern zdm_drop_not_null_pattern = {
	.name = "drop_not_null",
	.check = check,
	.expand = expand,
	.migrate = migrate,
	.statements = statements,
	.prepare_rollback = prepare_rollback,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.guard = guard,
	.notes = notes,
};
