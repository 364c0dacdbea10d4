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

#include "backfill/verify.h"
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
static pg_noreturn void differs(ZdmMigration *migration, Oid relid, int64 rows);

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
 * not on, and where partitions that no backfill has seen (they were attached
 * since, or their trigger was off for a time) differ.  Those are compared
 * here; with compared, the list of what a first look has compared, there must
 * be no others.  Returns that list.
 */
List *
zdm_check_in_sync(ZdmMigration *migration, List *compared)
{
	List	   *result = NIL;
	ListCell   *lc;

	zdm_check_synced(migration);
	foreach(lc, zdm_synced_storage(migration))
	{
		ZdmVerification found = {0};
		Relation	rel;

		if (zdm_ranges_exist(migration->id, lfirst_oid(lc)) ||
			list_member_oid(compared, lfirst_oid(lc)))
			continue;
		rel = table_open(lfirst_oid(lc), AccessShareLock);
		zdm_verify_blocks(migration, rel, 0, RelationGetNumberOfBlocks(rel), 0, &found);
		table_close(rel, AccessShareLock);
		if (found.mismatches > 0)
			differs(migration, lfirst_oid(lc), found.mismatches);
		result = lappend_oid(result, lfirst_oid(lc));
	}
	return result;
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
differs(ZdmMigration *migration, Oid relid, int64 rows)
{
	if (migration->state == ZDM_READY)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("partition \"%s\" was attached after migration \"%s\" was ready",
					   zdm_relation_label(relid), migration->name),
				errdetail("Its rows are not backfilled."),
				errhint("SELECT zdm.start(%s);", quote_literal_cstr(migration->name)));
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("old and new columns of migration \"%s\" differ in " INT64_FORMAT " %s of table \"%s\"",
				   migration->name, rows, rows == 1 ? "row" : "rows",
				   zdm_relation_label(relid)),
			errdetail("It was attached, or its trigger was off, in the quarantine; dropping either side would lose what only that side holds."),
			errhint("UPDATE these rows so that both sides agree; SELECT * FROM zdm.verify(%s) shows them.",
					quote_literal_cstr(migration->name)));
}
