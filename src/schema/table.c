/*-------------------------------------------------------------------------
 *
 * table.c
 *	  Which tables a migration can work on.
 *
 * Everything is refused here, before anything is done, with the reason and
 * the way out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/catalog.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "schema/relation.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/ident.h"

static void check_primary(void);
static void check_views(Relation rel);
static void check_inheritance(Relation rel);
static void check_triggers(Relation rel);
static void check_storage(Relation rel);

/*
 * Whether the current user may migrate this table, here.  First of all
 * checks, so that nobody learns anything about a table that is not his.
 */
void
zdm_check_caller(Oid relid)
{
	check_primary();
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("relation with OID %u does not exist", relid));
	if (!object_ownercheck(RelationRelationId, relid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER,
					   get_relkind_objtype(get_rel_relkind(relid)),
					   get_rel_name(relid));
}

static void
check_primary(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("zdm cannot work on a hot standby"),
				errhint("Run the same call on the primary."));
}

/*
 * Whether this session can change things.
 */
void
zdm_check_writable(void)
{
	check_primary();
	if (XactReadOnly)
		ereport(ERROR,
				errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				errmsg("zdm cannot change anything in a read-only transaction"),
				errhint("SET default_transaction_read_only = off;"));
}

/*
 * Whether this is a table, with its partitions, that the caller can change.
 */
void
zdm_check_shape(Relation rel)
{
	ListCell   *lc;

	zdm_check_kind(rel);
	check_inheritance(rel);
	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		if (lfirst_oid(lc) != RelationGetRelid(rel) &&
			!object_ownercheck(RelationRelationId, lfirst_oid(lc), GetUserId()))
			aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE,
						   get_rel_name(lfirst_oid(lc)));
	}
}

/*
 * Whether our trigger would be the last one to change a row.
 */
void
zdm_check_trigger_order(Relation rel)
{
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(RelationGetRelid(rel)))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		check_triggers(part);
		table_close(part, AccessShareLock);
	}
}

/*
 * Whether rows of this table can be kept in sync and backfilled.
 */
void
zdm_check_table(Relation rel)
{
	List	   *relids;
	ListCell   *lc;

	check_views(rel);
	zdm_check_shape(rel);
	relids = zdm_table_and_partitions(RelationGetRelid(rel));
	foreach(lc, relids)
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		if (part->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("partition \"%s\" of table \"%s\" is a foreign table",
						   RelationGetRelationName(part),
						   RelationGetRelationName(rel)),
					errdetail("Its rows cannot be backfilled from here."),
					errhint("Detach it for the time of the migration, and migrate it where it is stored."));
		check_triggers(part);
		check_storage(part);
		table_close(part, AccessShareLock);
	}
}

/*
 * Whether it is a table of a user's that others see.
 */
void
zdm_check_kind(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	const char *kind = NULL;

	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			kind = "a view";
			break;
		case RELKIND_MATVIEW:
			kind = "a materialized view";
			break;
		case RELKIND_FOREIGN_TABLE:
			kind = "a foreign table";
			break;
		default:
			kind = "no table";
			break;
	}
	if (kind != NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is %s", name, kind),
				errhint("Migrate the table that holds the rows."));
	if (IsSystemRelation(rel) ||
		RelationGetNamespace(rel) == get_namespace_oid("zdm", true))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is a system table", name),
				errhint("zdm migrates tables of users only."));
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is a temporary table", name),
				errhint("Only this session sees it: a plain ALTER TABLE disturbs nobody."));
	if (OidIsValid(rel->rd_rel->reloftype))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("\"%s\" is a typed table", name),
				errhint("ALTER TABLE %s NOT OF; makes it a plain one.",
						zdm_quote_relation(RelationGetRelid(rel))));
}

/*
 * A compatibility view holds on to the columns that it shows.
 */
static void
check_views(Relation rel)
{
	ListCell   *lc,
			   *other;

	foreach(lc, zdm_migrations_on(RelationGetRelid(rel)))
	{
		ZdmMigration *migration = lfirst(lc);

		foreach(other, migration->others)
			if (get_rel_relkind(lfirst_oid(other)) == RELKIND_VIEW)
			zdm_refuse_table(rel, migration);
	}
}

/*
 * Refuse a table that is in a migration already.
 */
void
zdm_refuse_table(Relation rel, ZdmMigration *migration)
{
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("table \"%s\" is in migration \"%s\" already",
				   RelationGetRelationName(rel), migration->name),
			errhint("Finish that one first, or SELECT zdm.rollback(%s);",
					quote_literal_cstr(migration->name)));
}

static void
check_inheritance(Relation rel)
{
	const char *name = RelationGetRelationName(rel);
	Oid			relid = RelationGetRelid(rel);

	if (rel->rd_rel->relispartition)
	{
		List	   *ancestors = get_partition_ancestors(relid);

		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" is a partition", name),
				errhint("Call this for its partitioned table %s.",
						zdm_quote_relation(llast_oid(ancestors))));
	}
	if (has_superclass(relid) ||
		(rel->rd_rel->relkind == RELKIND_RELATION &&
		 list_length(find_inheritance_children(relid, NoLock)) > 0))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" takes part in inheritance", name),
				errdetail("Row triggers on an inheritance parent do not fire for its children."),
				errhint("Use declarative partitioning, or ALTER TABLE ... NO INHERIT first."));
}

/*
 * Whether a trigger may change the row that is about to be written.
 */
bool
zdm_trigger_changes_row(const Trigger *trigger)
{
	return TRIGGER_FOR_BEFORE(trigger->tgtype) && TRIGGER_FOR_ROW(trigger->tgtype) &&
		(TRIGGER_FOR_INSERT(trigger->tgtype) || TRIGGER_FOR_UPDATE(trigger->tgtype));
}

/*
 * A BEFORE trigger that fires after ours would change the row behind our back.
 */
static void
check_triggers(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (zdm_trigger_changes_row(trigger) &&
			strcmp(trigger->tgname, ZDM_SYNC_TRIGGER) > 0)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("trigger \"%s\" on table \"%s\" would fire after zdm's",
						   trigger->tgname, RelationGetRelationName(rel)),
					errdetail("Triggers fire in the order of their names; zdm's must be the last BEFORE ROW trigger."),
					errhint("ALTER TRIGGER %s ON %s RENAME TO a name that sorts before \"~zdm_sync\".",
							quote_identifier(trigger->tgname),
							zdm_quote_relation(RelationGetRelid(rel))));
	}
}

static void
check_storage(Relation rel)
{
	if (rel->rd_tableam != NULL && RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind) &&
		rel->rd_tableam->scan_set_tidrange == NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("the access method of table \"%s\" cannot scan a range of row addresses",
					   RelationGetRelationName(rel)),
				errhint("ALTER TABLE %s SET ACCESS METHOD heap.",
						zdm_quote_relation(RelationGetRelid(rel))));
	/* What a plain UPDATE would be refused for, the backfill is, too. */
	if (RELKIND_HAS_TABLE_AM(rel->rd_rel->relkind))
		CheckCmdReplicaIdentity(rel, CMD_UPDATE);
}
