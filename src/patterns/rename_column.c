/*-------------------------------------------------------------------------
 *
 * rename_column.c
 *	  Rename a column that two versions of an application use.
 *
 * expand	a second column of the same type under the new name, and a rule
 *			that keeps both equal
 * migrate	fill it, give it the indexes that the first one has, compare
 * contract	the second column goes and the first takes its name: whatever
 *			hangs on the column (indexes, constraints, foreign keys, default,
 *			identity, privileges, comment, statistics, policies, views,
 *			publications) never notices, and nothing is built again.
 *			With a quarantine the two swap names instead, and stay in sync.
 * finish	the second column, by then under the old name, goes
 * rollback	the second column goes; the first gets its old name back where it
 *			had lost it.  It was written all the time, so nothing is lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/table.h"
#include "schema/privilege.h"
#include "schema/twin.h"
#include "schema/twin_constraint.h"
#include "schema/twin_index.h"
#include "sync/install.h"
#include "util/guc.h"
#include "util/ident.h"

static char *
old_name(ZdmMigration *migration)
{
	return linitial(migration->old_columns);
}

static char *
new_name(ZdmMigration *migration)
{
	return linitial(migration->new_columns);
}

/*
 * The name under which the second column goes at this time.
 */
static char *
copy_name(ZdmMigration *migration)
{
	return migration->state == ZDM_CONTRACTED ? old_name(migration)
		: new_name(migration);
}

static char *
original_name(ZdmMigration *migration)
{
	return migration->state == ZDM_CONTRACTED ? new_name(migration)
		: old_name(migration);
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmSyncRule *rule = palloc0_object(ZdmSyncRule);

	zdm_check_table(rel);
	zdm_check_column(rel, old_name(migration));
	zdm_check_free_columns(migration->relation,
						   list_make2(old_name(migration), new_name(migration)));
	zdm_check_new_column(rel, new_name(migration));
	zdm_twin_check(rel, old_name(migration));

	rule->relation = migration->relation;
	rule->old_columns = migration->old_columns;
	rule->new_columns = migration->new_columns;
	rule->up = list_make1(pstrdup(quote_identifier(old_name(migration))));
	rule->down = list_make1(pstrdup(quote_identifier(new_name(migration))));
	migration->rules = list_make1(rule);
}

static ZdmStep *
drop_column(ZdmMigration *migration, const char *column)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "drop the second column",
					psprintf("ALTER TABLE %s DROP COLUMN %s",
							 zdm_quote_relation(migration->relation),
							 quote_identifier(column)));
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
expand(ZdmMigration *migration, Relation rel)
{
	return list_concat(zdm_twin_add_steps(rel, old_name(migration), new_name(migration)),
					   zdm_sync_install_steps(migration));
}

/*
 * For people: what builds the second column's indexes, NULL where the first
 * one has none.
 */
static char *
index_sql(ZdmMigration *migration)
{
	StringInfoData sql;
	ListCell   *lc;

	if (!migration->build_indexes)
		return NULL;
	initStringInfo(&sql);
	foreach(lc, zdm_twin_index_sources(migration->relation, old_name(migration),
									   new_name(migration)))
		appendStringInfo(&sql, "%s%s", sql.len ? "\n" : "",
						 zdm_twin_index_sql(migration->id, lfirst_oid(lc),
											list_make1(zdm_pair(migration->relation, old_name(migration), new_name(migration))),
											zdm_preloaded));
	return sql.len ? sql.data : NULL;
}

static List *
migrate(ZdmMigration *migration)
{
	const char *from = quote_identifier(old_name(migration));
	const char *to = quote_identifier(new_name(migration));
	char	   *table = zdm_quote_relation(migration->relation);

	List	   *steps;
	char	   *indexes = index_sql(migration);

	steps = list_make1(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock,
								"fill the second column",
								psprintf("UPDATE %s SET %s = %s WHERE ctid in a range of blocks AND %s IS NULL AND %s IS NOT NULL",
										 table, to, from, to, from)));
	if (indexes != NULL)
		steps = lappend(steps, zdm_step(ZDM_STEP_INDEX, ShareUpdateExclusiveLock,
										"build the second column's indexes", indexes));
	return lappend(steps,
				   zdm_step(ZDM_STEP_VERIFY, AccessShareLock,
							"compare both columns in every row",
							psprintf("SELECT count(*) FROM %s WHERE %s IS DISTINCT FROM %s",
									 table, to, from)));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	char	   *aside = zdm_default_name("~zdm_%s", new_name(migration));
	List	   *steps;

	if (!quarantine)
	{
		steps = zdm_sync_remove_steps(migration);
		steps = lappend(steps, drop_column(migration, new_name(migration)));
		return lappend(steps, rename_to(migration, "give the column its new name",
										old_name(migration), new_name(migration)));
	}
	return list_make3(rename_to(migration, "set the second column aside",
								new_name(migration), aside),
					  rename_to(migration, "give the column its new name",
								old_name(migration), new_name(migration)),
					  rename_to(migration, "give the second column the old name",
								aside, old_name(migration)));
}

static List *
finish(ZdmMigration *migration)
{
	/* Only after a quarantine is there something left to do. */
	return lappend(zdm_sync_remove_steps(migration),
				   drop_column(migration, old_name(migration)));
}

static List *
rollback(ZdmMigration *migration)
{
	List	   *steps = lappend(zdm_sync_remove_steps(migration),
								drop_column(migration, copy_name(migration)));

	if (migration->state == ZDM_CONTRACTED)
		steps = lappend(steps, rename_to(migration, "give the column its old name back",
										 new_name(migration), old_name(migration)));
	return steps;
}

static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	return zdm_twin_attachments(migration->id, migration->relation,
								original_name(migration), copy_name(migration));
}

static List *
twins(ZdmMigration *migration)
{
	ZdmTwin    *twin = palloc0_object(ZdmTwin);

	if (!migration->build_indexes)
		return NIL;
	twin->relation = migration->relation;
	twin->column = old_name(migration);
	twin->twin = new_name(migration);
	return list_make1(twin);
}

/*
 * Both columns must go on to hold the same values.
 */
static void
guard(ZdmMigration *migration, Relation rel)
{
	if (!zdm_twin_fits(rel, original_name(migration), copy_name(migration)))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("columns \"%s\" and \"%s\" of table \"%s\" must keep one type while migration \"%s\" is in flight",
					   old_name(migration), new_name(migration),
					   RelationGetRelationName(rel), migration->name),
				zdm_hint_rollback(migration));
}

/*
 * The second column has indexes like the first one's, under its own names, and
 * its default and privileges.
 */
static List *
follow(ZdmMigration *migration, const ZdmDdl *ddl)
{
	List	   *steps = zdm_twin_follow_name_steps(migration->id,
												   list_make1(zdm_pair(migration->relation, original_name(migration), copy_name(migration))),
												   ddl);

	return list_concat(steps, zdm_privilege_follow_steps(ddl, migration->relation,
														 list_make1(original_name(migration)),
														 list_make1(copy_name(migration))));
}

/*
 * What the indexes of the first column mean for the second, NULL where it has
 * none.
 */
static ZdmNote *
index_note(ZdmMigration *migration)
{
	const char *from = quote_identifier(old_name(migration));
	const char *to = quote_identifier(new_name(migration));
	List	   *sources = zdm_twin_index_sources(migration->relation, old_name(migration),
												 new_name(migration));
	bool		unique = false;
	ListCell   *lc;

	foreach(lc, sources)
		unique |= zdm_index_is_unique(lfirst_oid(lc));
	if (sources == NIL)
		return NULL;
	if (!migration->build_indexes)
		return zdm_note(false, "until contract, column %s has no index: conditions on it are slow, and ON CONFLICT (%s) is refused; use %s for these",
						to, to, from);
	if (unique && !zdm_preloaded)
		return zdm_note(false, "column %s gets its indexes after the backfill, but no unique ones, as zdm is not in shared_preload_libraries: until the state is ready, conditions on it are slow, and until contract ON CONFLICT (%s) is refused; use %s for these",
						to, to, from);
	return zdm_note(false, "column %s gets its indexes after the backfill: until the state is ready, conditions on it are slow, and ON CONFLICT (%s) is refused; use %s for these",
					to, to, from);
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	const char *from = old_name(migration);
	const char *to = new_name(migration);
	ZdmNote    *indexes = index_note(migration);
	List	   *result = list_concat(zdm_notes_of_others(migration, rel),
									 zdm_notes_of_stars(migration));

	if (indexes != NULL)
		result = lappend(result, indexes);
	result = lappend(result,
					 zdm_note(false, "column %s shows no NOT NULL, no identity and no volatile default in the catalog; what %s demands holds for what is written to either",
							  quote_identifier(to), quote_identifier(from)));
	return list_concat(result, zdm_notes_of_backfill(migration));
}

const ZdmPattern zdm_rename_column_pattern = {
	.name = "rename_column",
	.strategy = "dual_write",
	.check = check,
	.expand = expand,
	.migrate = migrate,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.attached = attached,
	.twins = twins,
	.guard = guard,
	.follow = follow,
	.notes = notes,
};
