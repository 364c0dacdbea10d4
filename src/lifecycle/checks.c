/*-------------------------------------------------------------------------
 *
 * checks.c
 *	  What must hold before a side of a migration is dropped.
 *
 * Each check is made twice: before the tables are locked, so that nobody is
 * locked out for something that is refused, and after, when nobody can change
 * the answer any more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "backfill/verify.h"
#include "catalog/mirror_difference.h"
#include "catalog/mirror_rule.h"
#include "catalog/range.h"
#include "catalog/sync_rule.h"
#include "lifecycle/checks.h"
#include "lifecycle/explain.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static Oid	first_without(List *tables, const char *trigger, const char *enabled);
static int	compare_known(ZdmMigration *migration, ZdmPhase phase);
static List *compare_unseen(ZdmMigration *migration, List *compared);
static void compare(ZdmMigration *migration, Oid relid);
static char *difference_lines(List *differences);
static pg_noreturn void differs(ZdmMigration *migration, Oid relid, ZdmVerification *found);

/*
 * Refuse where somebody has attached something to what the phase drops.
 */
void
zdm_check_attached(const ZdmPattern *pattern, ZdmMigration *migration,
				   ZdmPhase phase)
{
	List	   *objects = pattern->attached != NULL ? pattern->attached(migration, phase) : NIL;

	if (objects == NIL)
		return;
	ereport(ERROR,
			errcode(ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST),
			errmsg("cannot %s migration \"%s\": other objects depend on what would go",
				   phase == ZDM_ROLLBACK ? "roll back" : zdm_phase_name(phase),
				   migration->name),
			errdetail("%s", zdm_lines(objects)),
			errhint("Drop them, or move them to what stays, and run the same call again."));
}

/*
 * Refuse where DDL on what the phase drops has not been repeated on what
 * stays.
 */
void
zdm_check_added(const ZdmPattern *pattern, ZdmMigration *migration, ZdmPhase phase)
{
	List	   *added = pattern->added ? pattern->added(migration, phase) : NIL;

	if (added == NIL)
		return;
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("cannot %s migration \"%s\": table \"%s\" was changed after expand, and table \"%s\" was not",
				   zdm_phase_name(phase), migration->name, zdm_relation_label(migration->relation),
				   zdm_relation_label(linitial_oid(migration->others))),
			errdetail("%s", zdm_lines(added)),
			errhint("Do so, or take it back on the first table, and run the same call again."));
}

/*
 * What the caller is to know before the phase.
 */
void
zdm_caution(const ZdmPattern *pattern, ZdmMigration *migration, ZdmPhase phase)
{
	ListCell   *lc;

	if (pattern->cautions == NULL)
		return;
	foreach(lc, pattern->cautions(migration, phase))
	{
		if (zdm_explaining())
			zdm_explain_note(lfirst(lc));
		else
			ereport(WARNING, errmsg("%s", (char *) lfirst(lc)));
	}
}

/*
 * Refuse to drop a side that may hold something alone: where the trigger is
 * not on, where partitions that no backfill has seen (they were attached
 * since, or their trigger was off for a time) differ, and where writes are
 * known that have left two tables different, and that are still so.
 */
void
zdm_check_in_sync(ZdmMigration *migration, ZdmPhase phase, ZdmCompared *compared)
{
	zdm_check_synced(migration);
	compared->differences = compare_known(migration, phase);
	compared->tables = compare_unseen(migration, NIL);
}

/*
 * The same once nobody can write any more: only what has come since the first
 * look is looked at.
 */
void
zdm_check_still_in_sync(ZdmMigration *migration, const ZdmCompared *compared)
{
	List	   *known = zdm_mirror_differences_of(migration->id);

	zdm_check_synced(migration);
	if (list_length(known) > compared->differences)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("a write has just left the tables of migration \"%s\" different",
					   migration->name),
				errdetail("%s", difference_lines(known)),
				errhint("SELECT * FROM zdm.verify(%s); then run the same call again.",
						quote_literal_cstr(migration->name)));
	(void) compare_unseen(migration, compared->tables);
}

/*
 * Where writes are known that have left two tables different, compare these:
 * all rows of the first, and those of the second where that goes.  The writes
 * were committed before the snapshot.  Returns how many there are.
 */
static int
compare_known(ZdmMigration *migration, ZdmPhase phase)
{
	List	   *known = zdm_mirror_differences_of(migration->id);
	ZdmMirrorRule *rule;
	List	   *relids;
	ListCell   *lc;

	if (known == NIL)
		return 0;
	rule = linitial(migration->mirrors);
	relids = zdm_synced_storage(migration);
	if (rule->fills_second == (phase == ZDM_ROLLBACK))
		relids = list_concat(relids, zdm_mirrored_storage(migration));
	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, relids)
		compare(migration, lfirst_oid(lc));
	PopActiveSnapshot();
	return list_length(known);
}

static List *
compare_unseen(ZdmMigration *migration, List *compared)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_compared_storage(migration))
	{
		if (zdm_ranges_exist(migration->id, lfirst_oid(lc)) ||
			list_member_oid(compared, lfirst_oid(lc)))
			continue;
		compare(migration, lfirst_oid(lc));
		result = lappend_oid(result, lfirst_oid(lc));
	}
	return result;
}

static void
compare(ZdmMigration *migration, Oid relid)
{
	Relation	rel = table_open(relid, AccessShareLock);
	ZdmVerification found = {0};

	zdm_verify_blocks(migration, rel, 0, RelationGetNumberOfBlocks(rel), 0, &found);
	table_close(rel, AccessShareLock);
	if (found.mismatches > 0)
		differs(migration, relid, &found);
}

/*
 * What goes with the new shape, where no check is made: it is the way out.
 */
void
zdm_warn_of_differences(ZdmMigration *migration)
{
	List	   *known = zdm_mirror_differences_of(migration->id);

	if (known == NIL)
		return;
	if (zdm_explaining())
		zdm_explain_note(psprintf("tables differ in rows, and what only the new shape holds of these goes: %s",
								  difference_lines(known)));
	else
		ereport(WARNING,
				errmsg("the tables of migration \"%s\" differ, and what only the new shape holds goes",
					   migration->name),
				errdetail("%s", difference_lines(known)));
}

static char *
difference_lines(List *differences)
{
	List	   *lines = NIL;
	ListCell   *lc;

	foreach(lc, differences)
	{
		ZdmMirrorDifference *difference = lfirst(lc);

		lines = lappend(lines, psprintf("row %s, written in table \"%s\"", difference->row,
										zdm_relation_label(difference->relation)));
	}
	return zdm_some_lines(lines, ZDM_VERIFY_SAMPLE);
}

/*
 * The table, or a partition of it, whose trigger is not on, or InvalidOid.  In
 * the middle of a restore that is so up to its very end: what the table holds
 * by then says nothing.  Asked of the catalog, without a lock: the caller may
 * only want to know whether to begin.
 */
Oid
zdm_table_out_of_sync(ZdmMigration *migration)
{
	Oid			relid = first_without(zdm_rules_tables(migration->rules), ZDM_SYNC_TRIGGER, "A");

	return OidIsValid(relid) ? relid
		: first_without(zdm_mirror_tables(migration->mirrors), ZDM_MIRROR_TRIGGER, "OA");
}

/*
 * The first of some tables and their partitions without a trigger of that
 * name which is enabled in one of those ways.
 */
static Oid
first_without(List *tables, const char *trigger, const char *enabled)
{
	List	   *relids = NIL;
	Datum	   *elems;
	List	   *missing;
	ListCell   *lc;

	foreach(lc, tables)
		relids = list_concat_unique_oid(relids, zdm_table_and_partitions(lfirst_oid(lc)));
	if (relids == NIL)
		return InvalidOid;
	elems = palloc_array(Datum, list_length(relids));
	foreach(lc, relids)
		elems[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	missing = zdm_query_strings("SELECT r.oid::pg_catalog.text FROM pg_catalog.unnest($1) r(oid)"
								" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t"
								" WHERE t.tgrelid OPERATOR(pg_catalog.=) r.oid"
								" AND t.tgname OPERATOR(pg_catalog.=) $2"
								" AND pg_catalog.strpos($3, t.tgenabled::pg_catalog.text) OPERATOR(pg_catalog.>) 0) LIMIT 1",
								ZDM_ARGS(ZDM_ARG(OIDARRAYOID,
												 PointerGetDatum(construct_array(elems, list_length(relids), OIDOID,
																				 sizeof(Oid), true, TYPALIGN_INT))),
										 zdm_arg_name(trigger), zdm_arg_text(enabled)));
	return missing ? (Oid) strtoul(linitial(missing), NULL, 10) : InvalidOid;
}

/*
 * Refuse what needs the table to be kept in sync, where it is not.
 */
void
zdm_check_synced(ZdmMigration *migration)
{
	Oid			relid = zdm_table_out_of_sync(migration);
	bool		mirrored = migration->mirrors != NIL;

	if (OidIsValid(relid))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg(mirrored ? "table \"%s\" is not kept in sync: its trigger \"%s\" is not enabled"
					   : "table \"%s\" is not kept in sync: its trigger \"%s\" is not ENABLE ALWAYS",
					   zdm_relation_label(relid),
					   mirrored ? ZDM_MIRROR_TRIGGER : ZDM_SYNC_TRIGGER),
				errhint("ALTER TABLE %s ENABLE %sTRIGGER %s; then check with zdm.verify(%s).",
						zdm_quote_relation(relid), mirrored ? "" : "ALWAYS ",
						quote_identifier(mirrored ? ZDM_MIRROR_TRIGGER : ZDM_SYNC_TRIGGER),
						quote_literal_cstr(migration->name)));
}

static void
differs(ZdmMigration *migration, Oid relid, ZdmVerification *found)
{
	const char *what = found->mismatches == 1 ? "row" : "rows";

	if (migration->state == ZDM_READY && !zdm_ranges_exist(migration->id, relid) &&
		list_member_oid(zdm_synced_storage(migration), relid))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("partition \"%s\" was attached after migration \"%s\" was ready",
					   zdm_relation_label(relid), migration->name),
				errdetail("Its rows are not backfilled."),
				errhint("SELECT zdm.start(%s);", quote_literal_cstr(migration->name)));
	if (migration->mirrors != NIL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("the tables of migration \"%s\" differ in " INT64_FORMAT " %s of table \"%s\"",
					   migration->name, found->mismatches, what, zdm_relation_label(relid)),
				errdetail("To drop either side would lose what only that side holds of these: %s.",
						  zdm_join(found->sample, "; ")),
				errhint("Write these rows so that both tables agree; SELECT * FROM zdm.verify(%s) shows them.",
						quote_literal_cstr(migration->name)));
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("old and new columns of migration \"%s\" differ in " INT64_FORMAT " %s of table \"%s\"",
				   migration->name, found->mismatches, what, zdm_relation_label(relid)),
			errdetail("It was attached, or its trigger was off, in the quarantine; dropping either side would lose what only that side holds."),
			errhint("UPDATE these rows so that both sides agree; SELECT * FROM zdm.verify(%s) shows them.",
					quote_literal_cstr(migration->name)));
}
