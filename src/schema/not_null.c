/*-------------------------------------------------------------------------
 *
 * not_null.c
 *	  NOT NULL without a scan under a strong lock.
 *
 * SET NOT NULL reads the whole table while nobody can use it, unless a
 * validated constraint CHECK (column IS NOT NULL) proves that there is nothing
 * to find.  So that comes first: added NOT VALID, which reads nothing, and
 * validated, which reads the table under a lock that readers and writers do
 * not notice.  It goes in the moment the column becomes NOT NULL.
 *
 * Of a composite column it says IS DISTINCT FROM NULL, which is what the server
 * takes for a proof there.
 *
 * From the moment it is there, VALID or not, every write is checked, also an
 * UPDATE of something else in a row that holds NULL.  So it is added when no
 * row does any more, as far as anybody knows.
 *
 * Since 18 a NOT NULL may itself be NOT VALID.  The CHECK does the same on all
 * majors, and until contract nobody is told that the column is NOT NULL.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_constraint.h"
#include "commands/defrem.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "schema/depend.h"
#include "schema/not_null.h"
#include "schema/relation.h"
#include "util/ident.h"
#include "util/spi.h"

/* Of a table's column by its number: since 18 these are constraints. */
#define NOT_NULL_NAMES \
	"SELECT c.conname::pg_catalog.text FROM pg_catalog.pg_constraint c" \
	" WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND c.contype OPERATOR(pg_catalog.=) 'n'" \
	" AND c.conkey OPERATOR(pg_catalog.=) ARRAY[$2]"

static char *first_name(const char *sql, Oid relid, const char *column);
static char *check_name(ZdmMigration *migration, const char *column);
static bool check_state(ZdmMigration *migration, const char *column,
						bool *validated);
static ZdmStep *add_check(ZdmMigration *migration, const char *column);
static ZdmStep *validate(ZdmMigration *migration, const char *constraint);
static ZdmStep *drop_check(ZdmMigration *migration, const char *column);

bool
zdm_column_is_not_null(Oid relid, const char *column)
{
	HeapTuple	tuple = SearchSysCacheAttName(relid, column);
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_attribute) GETSTRUCT(tuple))->attnotnull;
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The name of the column's NOT NULL, or NULL on the majors where it has none.
 */
char *
zdm_not_null_constraint(Oid relid, const char *column)
{
	return first_name(NOT_NULL_NAMES, relid, column);
}

/*
 * The name of a NOT NULL that is said of rows that are written alone, or NULL.
 * There is none before 18.
 */
char *
zdm_not_null_unproved(Oid relid, const char *column)
{
	return first_name(NOT_NULL_NAMES " AND NOT c.convalidated", relid, column);
}

static char *
first_name(const char *sql, Oid relid, const char *column)
{
	List	   *names = zdm_query_strings(sql,
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
												   ZDM_ARG(INT2OID, Int16GetDatum(get_attnum(relid, column)))));

	return names ? linitial(names) : NULL;
}

/*
 * What NOT NULL asks of a column, as SQL.  Of one with fields IS NOT NULL asks
 * for more: that each of them has a value.
 */
char *
zdm_not_null_condition(Oid relid, const char *column)
{
	bool		has_fields = type_is_rowtype(get_atttype(relid, get_attnum(relid, column)));

	return psprintf("%s %s", quote_identifier(column),
					has_fields ? "IS DISTINCT FROM NULL" : "IS NOT NULL");
}

/*
 * Distinct for each migration, and so for each column; what is not stored yet
 * has no number, and is only explained.
 */
static char *
check_name(ZdmMigration *migration, const char *column)
{
	return makeObjectName(migration->id != 0 ? psprintf("~zdm_" INT64_FORMAT, migration->id) : "~zdm",
						  column, "not_null");
}

/*
 * Whether the check is there, and whether it is validated.
 */
static bool
check_state(ZdmMigration *migration, const char *column, bool *validated)
{
	Oid			constraint = get_relation_constraint_oid(migration->relation,
														 check_name(migration, column), true);
	HeapTuple	tuple;

	*validated = false;
	if (!OidIsValid(constraint))
		return false;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	if (!HeapTupleIsValid(tuple))
		return false;
	*validated = ((Form_pg_constraint) GETSTRUCT(tuple))->convalidated;
	ReleaseSysCache(tuple);
	return true;
}

/*
 * Whether the column cannot hold a NULL any more.
 */
bool
zdm_not_null_proved(ZdmMigration *migration, const char *column)
{
	bool		validated;

	(void) check_state(migration, column, &validated);
	return validated ||
		(zdm_column_is_not_null(migration->relation, column) &&
		 zdm_not_null_unproved(migration->relation, column) == NULL);
}

/*
 * Whether nobody can write a NULL into it any more.
 */
bool
zdm_not_null_demanded(ZdmMigration *migration, const char *column)
{
	bool		validated;

	return check_state(migration, column, &validated) ||
		zdm_column_is_not_null(migration->relation, column);
}

static ZdmStep *
add_check(ZdmMigration *migration, const char *column)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "demand a value of every row that is written",
					psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s) NOT VALID",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(check_name(migration, column)),
							 zdm_not_null_condition(migration->relation, column)));
}

static ZdmStep *
validate(ZdmMigration *migration, const char *constraint)
{
	return zdm_step(ZDM_STEP_DDL, ShareUpdateExclusiveLock, "prove that no row lacks it",
					psprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(constraint)));
}

static ZdmStep *
drop_check(ZdmMigration *migration, const char *column)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "drop the check",
					psprintf("ALTER TABLE %s DROP CONSTRAINT IF EXISTS %s",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(check_name(migration, column))));
}

/*
 * The steps that prove that the column holds no NULL.
 */
List *
zdm_not_null_proof(ZdmMigration *migration, const char *column)
{
	return list_make2(add_check(migration, column),
					  validate(migration, check_name(migration, column)));
}

/*
 * Those of them that are still to be done.  Where somebody has added a NOT NULL
 * that is not valid, that is what has to be proved.
 */
List *
zdm_not_null_proof_left(ZdmMigration *migration, const char *column)
{
	char	   *unproved;
	bool		validated;

	if (zdm_column_is_not_null(migration->relation, column))
	{
		unproved = zdm_not_null_unproved(migration->relation, column);
		return unproved ? list_make1(validate(migration, unproved)) : NIL;
	}
	if (!check_state(migration, column, &validated))
		return zdm_not_null_proof(migration, column);
	return validated ? NIL : list_make1(validate(migration, check_name(migration, column)));
}

/*
 * The steps that make the column NOT NULL, by a constraint of that name where
 * it has one, and take the check away.
 */
List *
zdm_not_null_set_steps(ZdmMigration *migration, const char *column,
					   const char *constraint)
{
	char	   *table = zdm_quote_relation(migration->relation);
	bool		validated;
	List	   *steps;

	steps = list_make1(zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "make the column mandatory",
								constraint == NULL
								? psprintf("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL",
										   table, quote_identifier(column))
								: psprintf("ALTER TABLE %s ADD CONSTRAINT %s NOT NULL %s",
										   table, quote_identifier(constraint),
										   quote_identifier(column))));
	if (check_state(migration, column, &validated) ||
		!zdm_column_is_not_null(migration->relation, column))
		steps = lappend(steps, drop_check(migration, column));
	return steps;
}

/*
 * The steps that take the check away without that.
 */
List *
zdm_not_null_give_up_steps(ZdmMigration *migration, const char *column)
{
	bool		validated;

	return check_state(migration, column, &validated)
		? list_make1(drop_check(migration, column)) : NIL;
}

/*
 * Whether the description of an object is that of the check, of the table or
 * of a partition.
 */
bool
zdm_not_null_is_check(ZdmMigration *migration, const char *column,
					  const char *description)
{
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(migration->relation))
	{
		Oid			constraint = get_relation_constraint_oid(lfirst_oid(lc),
															 check_name(migration, column), true);
		ObjectAddress object;

		ObjectAddressSet(object, ConstraintRelationId, constraint);
		if (OidIsValid(constraint) &&
			strcmp(zdm_describe_dependent(object), description) == 0)
			return true;
	}
	return false;
}

ZdmStep *
zdm_not_null_drop_step(ZdmMigration *migration, const char *column)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "make the column optional",
					psprintf("ALTER TABLE %s ALTER COLUMN %s DROP NOT NULL",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(column)));
}
