/*-------------------------------------------------------------------------
 *
 * partition_guard.c
 *	  Partitions of mirrored tables come and go without rows.
 *
 * Two tables that mirror each other hold the same by the writes of their rows.
 * A partition that comes with rows, or goes with them, changes one of the two
 * without a write: what an old version has dropped would be in the new table
 * for good, and what has come to the new one would be lost with a rollback.
 * So that is refused, as long as it has rows; only what comes before contract to
 * a table that the backfill reads is left to that.
 *
 * Called at the command's start, with the user's search_path, to find his
 * tables by.  The locks are those that the command takes, and in its order.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/mirror_rule.h"
#include "lifecycle/partition_guard.h"
#include "lifecycle/registry.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/lock.h"

static void guard(Oid whole, Oid part, LOCKMODE mode, bool comes, bool concurrently);
static ZdmMirrorRule *rule_on(Oid relid, ZdmMigration **migration);
static bool is_owner(Oid relid);
static bool has_rows(Oid relid);

/*
 * Before ALTER TABLE ... ATTACH or DETACH PARTITION.
 */
void
zdm_guard_partitions(AlterTableStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, stmt->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);
		bool		comes = cmd->subtype == AT_AttachPartition;
		PartitionCmd *partition;

		if (!comes && cmd->subtype != AT_DetachPartition)
			continue;
		partition = castNode(PartitionCmd, cmd->def);
		guard(RangeVarGetRelid(stmt->relation, NoLock, true),
			  RangeVarGetRelid(partition->name, NoLock, true),
			  comes ? ShareUpdateExclusiveLock : AccessExclusiveLock, comes, partition->concurrent);
	}
}

/*
 * Before DROP TABLE.  A partition that goes with the whole is none.
 */
void
zdm_guard_dropped_partitions(DropStmt *stmt)
{
	List	   *dropped = NIL;
	ListCell   *lc;

	if (stmt->removeType != OBJECT_TABLE)
		return;
	foreach(lc, stmt->objects)
		dropped = lappend_oid(dropped, RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true));
	foreach(lc, dropped)
	{
		List	   *wholes = OidIsValid(lfirst_oid(lc)) && get_rel_relispartition(lfirst_oid(lc))
			? get_partition_ancestors(lfirst_oid(lc)) : NIL;

		if (wholes != NIL && list_length(list_difference_oid(wholes, dropped)) == list_length(wholes))
			guard(linitial_oid(wholes), lfirst_oid(lc), AccessExclusiveLock, false, false);
	}
}

static void
guard(Oid whole, Oid part, LOCKMODE mode, bool comes, bool concurrently)
{
	ZdmMigration *migration;
	ZdmMirrorRule *rule;
	List	   *locks;
	Oid			root;
	Oid			other;
	ListCell   *lc;

	if (!OidIsValid(whole) || !OidIsValid(part) || !is_owner(whole) || (comes && !is_owner(part)))
		return;
	root = zdm_root_table(whole);
	rule = rule_on(root, &migration);
	if (rule == NULL ||
		(comes && migration->state != ZDM_CONTRACTED && root == rule->first && rule->fills_second))
		return;
	other = root == rule->first ? rule->second : rule->first;
	if (concurrently)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("partition \"%s\" cannot be detached CONCURRENTLY while migration \"%s\" is in flight",
					   get_rel_name(part), migration->name),
				errdetail("Rows could come between."),
				errhint("Detach it without, once it has no rows."));
	locks = list_make1(zdm_lock(whole, mode));
	foreach(lc, zdm_table_and_partitions(part))
		locks = lappend(locks, zdm_lock(lfirst_oid(lc), AccessExclusiveLock));
	(void) zdm_lock_in_order(locks);
	if (!has_rows(part))
		return;
	if (comes)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("table \"%s\" has rows, which table \"%s\" of migration \"%s\" would lack",
					   get_rel_name(part), get_rel_name(other), migration->name),
				errhint("Attach it empty, and insert the rows into %s; or finish the migration first, or SELECT zdm.rollback(%s);",
						zdm_quote_relation(root), quote_literal_cstr(migration->name)));
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("partition \"%s\" has rows, which table \"%s\" of migration \"%s\" would keep",
				   get_rel_name(part), get_rel_name(other), migration->name),
			errhint("DELETE FROM %s, or TRUNCATE where no foreign key refers to it, takes them out of both. To keep them, copy them to another table before, or finish the migration first.",
					zdm_quote_relation(part)));
}

/*
 * The rule of a migration in flight that mirrors the table; NULL for none.
 */
static ZdmMirrorRule *
rule_on(Oid relid, ZdmMigration **migration)
{
	ListCell   *lc,
			   *item;

	foreach(lc, zdm_migrations_on(relid))
	{
		*migration = lfirst(lc);
		foreach(item, (*migration)->mirrors)
		{
			ZdmMirrorRule *rule = lfirst(item);

			if (relid == rule->first || relid == rule->second)
				return rule;
		}
	}
	return NULL;
}

/*
 * Nobody is to wait for a command that is going to be refused.
 */
static bool
is_owner(Oid relid)
{
	return object_ownercheck(RelationRelationId, relid, GetUserId());
}

static bool
has_rows(Oid relid)
{
	bool		result = false;
	ListCell   *lc;

	PushActiveSnapshot(GetLatestSnapshot());
	foreach(lc, zdm_storage_relations(relid))
	{
		Relation	rel = table_open(lfirst_oid(lc), NoLock);
		TupleTableSlot *slot = table_slot_create(rel, NULL);
		TableScanDesc scan = zdm_beginscan(rel, GetActiveSnapshot());

		result |= table_scan_getnextslot(scan, ForwardScanDirection, slot);
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(slot);
		table_close(rel, NoLock);
	}
	PopActiveSnapshot();
	return result;
}
