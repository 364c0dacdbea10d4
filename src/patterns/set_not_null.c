/*-------------------------------------------------------------------------
 *
 * set_not_null.c
 *	  Make an optional column mandatory.
 *
 * expand	a rule that fills the column where a NULL is about to be stored
 * migrate	fill the rows that hold NULL, look at every row, and have the server
 *			prove that none is left: a CHECK constraint, NOT VALID first, and
 *			then validated (schema/not_null.c)
 * contract	the column becomes NOT NULL, which scans nothing, and the check and
 *			the rule go.  With a quarantine the rule stays, for a version that
 *			still writes NULL.
 * finish	the rule goes
 * rollback	the column is optional again; what was filled stays filled
 *
 * Without fill the rule gives NULL: it fills nothing, and the verification
 * counts and names the rows that hold NULL.  Once there is none, the check
 * refuses new ones.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/common_value.h"
#include "schema/not_null.h"
#include "schema/table.h"
#include "sync/expression.h"
#include "sync/install.h"
#include "util/ident.h"

static char *
column(ZdmMigration *migration)
{
	return linitial(migration->new_columns);
}

static void
is_not_null_already(Relation rel, const char *name)
{
	char	   *table = zdm_quote_relation(RelationGetRelid(rel));
	char	   *unproved = zdm_not_null_unproved(RelationGetRelid(rel), name);

	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("column \"%s\" of table \"%s\" is NOT NULL already",
				   name, RelationGetRelationName(rel)),
			unproved ? errdetail("Constraint \"%s\" is not valid yet: rows that are older may hold NULL.", unproved) : 0,
			unproved ? errhint("Give those a value, then ALTER TABLE %s VALIDATE CONSTRAINT %s;",
							   table, quote_identifier(unproved))
			: errhint("See \\d %s.", table));
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);
	const char *fill = zdm_argument(migration, "fill");
	Form_pg_attribute attr;

	zdm_check_table(rel);
	zdm_check_column(rel, column(migration));
	zdm_check_single_migration(migration->relation, migration->new_columns);
	if (zdm_column_is_not_null(migration->relation, column(migration)))
		is_not_null_already(rel, column(migration));

	attr = TupleDescAttr(RelationGetDescr(rel),
						 get_attnum(migration->relation, column(migration)) - 1);
	if (fill != NULL)
		zdm_check_common_value(rel, attr, zdm_expression_parse_for(rel, fill, "fill", attr),
							   "\"fill\"", true);
	rule->kind = ZDM_RULE_FILL;
	rule->relation = migration->relation;
	rule->new_columns = migration->new_columns;
	rule->up = list_make1(zdm_expression_check_fill(rel, fill ? fill : "NULL", "fill", attr));
	migration->rules = list_make1(rule);
	zdm_check_fill(migration);
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	return zdm_sync_install_steps(migration);
}

static List *
migrate(ZdmMigration *migration)
{
	char	   *table = zdm_quote_relation(migration->relation);
	const char *name = quote_identifier(column(migration));
	ZdmSyncRule *rule = linitial(migration->rules);

	return list_concat(list_make2(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
										   "fill the rows that hold NULL",
										   psprintf("UPDATE %s SET %s = %s WHERE ctid in a range of blocks AND %s IS NULL",
													table, name, (char *) linitial(rule->up), name)),
								  zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
										   "look for NULL in every row",
										   psprintf("SELECT count(*) FROM %s WHERE %s IS NULL", table, name))),
					   zdm_not_null_proof(migration, column(migration)));
}

static List *
statements(ZdmMigration *migration)
{
	return zdm_not_null_proof_left(migration, column(migration));
}

static List *
take_back(ZdmMigration *migration)
{
	return zdm_not_null_give_up_steps(migration, column(migration));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	List	   *steps = zdm_not_null_set_steps(migration, column(migration), NULL);

	return quarantine ? steps : list_concat(steps, zdm_sync_remove_steps(migration));
}

static List *
rollback(ZdmMigration *migration)
{
	List	   *steps = zdm_sync_remove_steps(migration);

	if (migration->state == ZDM_CONTRACTED)
		return lappend(steps, zdm_not_null_drop_step(migration, column(migration)));
	return list_concat(steps, zdm_not_null_give_up_steps(migration, column(migration)));
}

static void
guard(ZdmMigration *migration, Relation rel)
{
	zdm_guard_not_null(migration, column(migration));
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	const char *name = quote_identifier(column(migration));
	List	   *result = NIL;

	if (zdm_argument(migration, "fill") == NULL)
		result = lappend(result,
						 zdm_note(true, "without fill, a NULL in %s is refused as soon as no row holds one, and that may be at once: no version that writes NULL may run any more",
								  name));
	else
		result = lappend(result,
						 zdm_note(false, "a NULL that is written to %s is stored as the value of fill, also where a statement names the column; where fill gives NULL, the statement is refused from the verification on", name));
	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		result = lappend(result,
						 zdm_note(false, "after the verification and until contract, a table that is attached as a partition needs the same CHECK (%s), as it will need NOT NULL afterwards",
								  zdm_not_null_condition(migration->relation, column(migration))));
	result = lappend(result, zdm_note_conflicts());
	return lappend(result,
				   zdm_note(false, "a version that relies on a value in %s may start once the state is ready: before, rows that were not filled read NULL",
							name));
}

const ZdmPattern zdm_set_not_null_pattern = {
	.name = "set_not_null",
	.check = check,
	.expand = expand,
	.migrate = migrate,
	.statements = statements,
	.verify_first = true,
	.take_back = take_back,
	.contract = contract,
	.finish = zdm_sync_remove_steps,
	.rollback = rollback,
	.guard = guard,
	.notes = notes,
};
