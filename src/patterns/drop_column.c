/*-------------------------------------------------------------------------
 *
 * drop_column.c
 *	  Drop a column that an application stops using.
 *
 * expand	the old version goes on to use the column, the new one leaves it
 *			out.  A column that is mandatory and has no default is filled by a
 *			rule, so its NOT NULL stays: the trigger comes before it, and the
 *			old version never meets a NULL.  Anything else takes care of
 *			itself.
 * migrate	nothing: every row has its value
 * contract	the column goes, and with it what is on it alone.  With a
 *			quarantine it takes a name that nobody knows, and is filled on.
 * finish	it goes
 * rollback	it gets its name back, with all that was always on it; nothing has
 *			to be validated.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "nodes/bitmapset.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/common_value.h"
#include "schema/depend.h"
#include "schema/drop.h"
#include "schema/mandatory.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "sync/expression.h"
#include "sync/install.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"

static char *
column_name(ZdmMigration *migration)
{
	return linitial(migration->old_columns);
}

/*
 * The name that the column has in the quarantine.
 */
static char *
hidden_name(ZdmMigration *migration)
{
	return zdm_hidden_name(column_name(migration));
}

static char *
name_now(ZdmMigration *migration)
{
	return migration->state == ZDM_CONTRACTED ? hidden_name(migration)
		: column_name(migration);
}

static ZdmSyncRule *
fill_rule(ZdmMigration *migration, char *column, char *fill)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);

	rule->kind = ZDM_RULE_FILL;
	rule->relation = migration->relation;
	rule->new_columns = list_make1(column);
	rule->up = list_make1(fill);
	return rule;
}

static void
check_primary_key(Relation rel, Form_pg_attribute attr)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);

	if (bms_is_member(attr->attnum - FirstLowInvalidHeapAttributeNumber, key))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" is part of the primary key of table \"%s\"",
					   NameStr(attr->attname), RelationGetRelationName(rel)),
				errdetail("The key would go with the column."),
				errhint("Give the table another primary key first: CREATE UNIQUE INDEX CONCURRENTLY, then ALTER TABLE %s DROP CONSTRAINT and ADD PRIMARY KEY USING INDEX.",
						zdm_quote_relation(RelationGetRelid(rel))));
}

static void
check_partition_key(Relation rel, const char *column)
{
	if (zdm_is_partition_key(rel, column))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" is part of the partition key of table \"%s\"",
					   column, RelationGetRelationName(rel)),
				errdetail("The server cannot drop it."),
				errhint("Make a new partitioned table and move the rows there."));
}

/*
 * Rows that the new version inserts get the default, the fill, or NULL.
 */
static void
check_value(ZdmMigration *migration, Relation rel, Form_pg_attribute attr)
{
	char	   *column = column_name(migration);
	const char *fill = zdm_argument(migration, "fill");
	Node	   *initial = attr->attgenerated ? NULL : build_column_default(rel, attr->attnum);
	bool		mandatory = !attr->attgenerated && zdm_column_is_mandatory(rel, column);

	if (!attr->attgenerated)
		zdm_twin_check(rel, column);
	if (fill != NULL && (!mandatory || initial != NULL))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("column \"%s\" has no use for \"fill\"", column),
				errdetail("%s", attr->attgenerated ? "It is a generated column."
						  : initial != NULL ? "A row that leaves it out gets its default."
						  : "It is optional: the old version can read a NULL there."),
				errhint("%s", attr->attgenerated || initial != NULL ? "Leave fill out."
						: "Leave fill out, or give the column a default for the time of the migration."));
	if (!attr->attgenerated && (initial != NULL || !mandatory))
		zdm_check_common_value(rel, attr, initial, "the default", mandatory);
	if (!mandatory || initial != NULL)
		return;
	if (fill == NULL)
		ereport(ERROR,
				errcode(ERRCODE_NOT_NULL_VIOLATION),
				errmsg("column \"%s\" is mandatory and has no default", column),
				errdetail("The new version leaves it out, and the old one cannot read a NULL there."),
				errhint("Say in the argument fill what such rows get, for example fill => %s.",
						quote_literal_cstr("'unknown'")));
	zdm_check_common_value(rel, attr, zdm_expression_parse(rel, fill, "fill", attr->attnum),
						   "\"fill\"", true);
	migration->rules = list_make1(fill_rule(migration, column,
											zdm_expression_check_fill(rel, fill, "fill", attr)));
}

static void
check(ZdmMigration *migration, Relation rel)
{
	char	   *column = column_name(migration);
	Form_pg_attribute attr;

	zdm_check_shape(rel);
	attr = TupleDescAttr(RelationGetDescr(rel), zdm_check_user_column(rel, column) - 1);
	check_partition_key(rel, column);
	check_primary_key(rel, attr);
	zdm_check_free_columns(migration->relation, list_make1(column));
	zdm_check_new_column(rel, hidden_name(migration));
	migration->rules = NIL;
	check_value(migration, rel, attr);
	if (migration->rules == NIL)
		return;
	zdm_check_trigger_order(rel);
	zdm_check_fill(migration);
}

static ZdmStep *
drop_column(ZdmMigration *migration)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "drop the column",
					psprintf("ALTER TABLE %s DROP COLUMN %s",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(name_now(migration))));
}

static ZdmStep *
rename_to(ZdmMigration *migration, const char *description,
		  const char *from, const char *to)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, description,
					psprintf("ALTER TABLE %s RENAME COLUMN %s TO %s",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(from), quote_identifier(to)));
}

static List *
remove_rule(ZdmMigration *migration)
{
	return migration->rules ? zdm_sync_remove_steps(migration) : NIL;
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	return migration->rules ? zdm_sync_install_steps(migration) : NIL;
}

/*
 * A rule names its column, and follows it.
 */
static List *
hide(ZdmMigration *migration)
{
	ZdmStep    *rename = rename_to(migration, "hide the column", column_name(migration),
								   hidden_name(migration));
	ZdmStep    *add;

	if (migration->rules == NIL)
		return list_make1(rename);
	add = zdm_step(ZDM_STEP_ADD_RULES, NoLock, "fill it under that name", NULL);
	add->rules = list_make1(fill_rule(migration, hidden_name(migration),
									  linitial(((ZdmSyncRule *) linitial(migration->rules))->up)));
	return list_make3(zdm_step(ZDM_STEP_DROP_RULES, NoLock, "remove the sync rule", NULL),
					  rename, add);
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	return quarantine ? hide(migration)
		: lappend(remove_rule(migration), drop_column(migration));
}

static List *
finish(ZdmMigration *migration)
{
	return lappend(remove_rule(migration), drop_column(migration));
}

static List *
rollback(ZdmMigration *migration)
{
	List	   *steps = remove_rule(migration);

	if (migration->state == ZDM_CONTRACTED)
		steps = lappend(steps, rename_to(migration, "give the column its name back",
										 hidden_name(migration), column_name(migration)));
	return steps;
}

/*
 * What is in the way of dropping the column.
 */
static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	List	   *result;

	if (phase == ZDM_ROLLBACK)
		return NIL;
	result = zdm_drop_of_column(migration->relation, name_now(migration))->in_the_way;
	if (phase == ZDM_CONTRACT && !zdm_ignore_mentions)
		result = list_concat(result,
							 zdm_mention_lines(zdm_functions_using(migration->relation,
																   column_name(migration))));
	return result;
}

/*
 * A foreign key that goes with the column is one of another table, too.
 */
static List *
also_locked(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	if (phase == ZDM_ROLLBACK || quarantine)
		return NIL;
	return zdm_drop_of_column(migration->relation, name_now(migration))->referenced;
}

/*
 * The column must stay, under its name; in the quarantine its old name must
 * stay free for it.
 */
static void
guard(ZdmMigration *migration, Relation rel)
{
	if (get_attnum(migration->relation, name_now(migration)) <= 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("column \"%s\" of table \"%s\" is needed by migration \"%s\"",
					   name_now(migration), RelationGetRelationName(rel), migration->name),
				errhint("SELECT zdm.%s(%s); drops it.",
						migration->state == ZDM_CONTRACTED ? "finish" : "contract",
						quote_literal_cstr(migration->name)));
	if (migration->state == ZDM_CONTRACTED &&
		get_attnum(migration->relation, column_name(migration)) != InvalidAttrNumber)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("name \"%s\" in table \"%s\" is kept for the rollback of migration \"%s\"",
					   column_name(migration), RelationGetRelationName(rel), migration->name),
				errhint("Finish the migration first: SELECT zdm.contract(%s, quarantine => '0');",
						quote_literal_cstr(migration->name)));
}

/*
 * What the new version's rows get.
 */
static ZdmNote *
value_note(ZdmMigration *migration, Relation rel)
{
	const char *column = quote_identifier(column_name(migration));
	AttrNumber	attnum = get_attnum(migration->relation, column_name(migration));
	const char *fill = zdm_argument(migration, "fill");

	if (TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated)
		return zdm_note(false, "column %s is computed until it is dropped", column);
	if (fill != NULL)
		return zdm_note(false, "until column %s is dropped, a statement that gives it no value, or NULL, stores what fill gives: %s",
						column, fill);
	if (build_column_default(rel, attnum) != NULL)
		return zdm_note(false, "until column %s is dropped, a row that leaves it out gets its default", column);
	return zdm_note(false, "until column %s is dropped, a row that leaves it out has NULL there", column);
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	const char *column = quote_identifier(column_name(migration));
	ZdmDrop    *drop = zdm_drop_of_column(migration->relation, column_name(migration));
	List	   *functions = zdm_functions_using(migration->relation, column_name(migration));
	List	   *result = zdm_drop_notes(drop, functions, "column", column);

	if (zdm_is_published(migration->relation))
		result = lappend(result,
						 zdm_note(true, "the table is published: on every subscriber column %s must be optional, or have a default, before contract; in a quarantine it is published as %s, which they lack",
								  column, quote_identifier(hidden_name(migration))));
	result = lappend(result, value_note(migration, rel));
	result = lappend(result,
					 zdm_note(false, "SELECT * and RETURNING * have a column less after contract, in a quarantine one of another name: a statement that was prepared with a star fails with \"cached plan must not change result type\" until it is prepared again"));
	result = lappend(result,
					 zdm_note(false, "COPY without a column list reads and writes the column until it is dropped: name the columns"));
	return lappend(result,
				   zdm_note(false, "contract when no old version runs any more: its statements that name column %s fail from then on",
							column));
}

const ZdmPattern zdm_drop_column_pattern = {
	.name = "drop_column",
	.check = check,
	.expand = expand,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.attached = attached,
	.also_locked = also_locked,
	.guard = guard,
	.notes = notes,
};
