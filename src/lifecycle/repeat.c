/*-------------------------------------------------------------------------
 *
 * repeat.c
 *	  Somebody else's DDL on one of two relations, repeated on the other.
 *
 * What a compatibility view must follow (a column added, a default, a
 * privilege) is repeated on it in the same transaction.  By then the command
 * holds the table, and who reads through the view may have that and wait for
 * the table: so at the command's start the view is locked, before the table,
 * in the order of everybody.
 *
 * A second table follows in what would otherwise let somebody in, or keep the
 * migration from going on: privileges and the owner.  A second column follows
 * in what would otherwise refuse what the first one does not, or be left over.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"

#include "catalog/event.h"
#include "lifecycle/guard.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/partition_guard.h"
#include "lifecycle/registry.h"
#include "lifecycle/repeat.h"
#include "schema/privilege.h"
#include "schema/relation.h"
#include "schema/twin_follow.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

static void follow(List *tables, const ZdmDdl *ddl);
static bool works_on(ZdmMigration *migration, List *tables);
static void repeat_privileges(ZdmMigration *migration, const GrantStmt *stmt);
static void repeat_as_owner(ZdmMigration *migration, const GrantStmt *revoke);
static void start_alter(AlterTableStmt *stmt);
static void start_privileges(GrantStmt *stmt);
static bool changes_other(AlterTableStmt *stmt);

/* What the command that changes privileges is about, from its start on. */
static ZdmDdl privileges_named;

/*
 * Bring a migration's compatibility view, or its second table, in line with
 * the table.
 */
void
zdm_repeat_alter(ZdmMigration *migration, Relation rel)
{
	List	   *steps = zdm_pattern(migration)->mend(migration, rel);
	const char *kind;
	ListCell   *lc;

	if (steps == NIL)
		return;
	kind = get_rel_relkind(linitial_oid(migration->others)) == RELKIND_VIEW ? "view" : "table";
	zdm_lock_briefly(linitial_oid(migration->others));
	zdm_run_own_ddl(zdm_step_texts(steps));
	foreach(lc, steps)
	{
		ZdmStep    *step = lfirst(lc);

		zdm_event(migration, "info", psprintf("%s follows", kind), step->description);
		ereport(NOTICE,
				errmsg("%s \"%s\" of migration \"%s\": %s",
					   kind, zdm_relation_label(linitial_oid(migration->others)), migration->name,
					   step->description),
				errdetail("%s", step->sql));
	}
}

/*
 * Do to second columns what a command has done to the first ones: of the
 * migrations on the tables (oids), or of all (NIL).
 */
void
zdm_repeat_on_twins(List *tables, Node *command)
{
	ZdmDdl		ddl = {0};

	if (IsA(command, GrantStmt) || IsA(command, DropOwnedStmt))
		ddl = privileges_named;
	ddl.command = command;
	follow(tables, &ddl);
}

static void
follow(List *tables, const ZdmDdl *ddl)
{
	ListCell   *lc,
			   *item;

	foreach(lc, zdm_migrations_in_flight())
	{
		ZdmMigration *migration = lfirst(lc);

		if (zdm_pattern(migration)->follow == NULL || get_rel_name(migration->relation) == NULL ||
			(tables != NIL && !works_on(migration, tables)))
			continue;
		foreach(item, zdm_pattern(migration)->follow(migration, ddl))
		{
			ZdmStep    *step = lfirst(item);

			if (step->kind == ZDM_STEP_CATALOG)
				step->change(step);
			else
				zdm_run_as_owner(step);
			zdm_event(migration, "info", "second column follows", step->description);
			ereport(NOTICE,
					errmsg("second column of migration \"%s\": %s", migration->name, step->description),
					errdetail("%s", step->sql));
		}
	}
}

static bool
works_on(ZdmMigration *migration, List *tables)
{
	return list_length(list_difference_oid(tables, zdm_migration_tables(migration))) < list_length(tables);
}

/*
 * Run a statement that the guard is to let pass, as the table's owner: what was
 * dropped by others, as by DROP ... CASCADE of what a constraint uses, was not
 * theirs.  A superuser may do what the owner may not, for whom the schema can be
 * closed, and so he may the same for the twin.
 */
void
zdm_run_as_owner(ZdmStep *step)
{
	ZdmIdentity saved;

	if (superuser())
	{
		zdm_run_own_ddl(list_make1(step->sql));
		return;
	}
	zdm_become(zdm_table_owner(step->relation), &saved);
	zdm_run_own_ddl(list_make1(step->sql));
	zdm_unbecome(&saved);
}

/*
 * The same after a command has dropped constraints and indexes.
 */
void
zdm_repeat_drop(Node *command)
{
	static const char *const sql =
		"SELECT pg_catalog.concat_ws(E'\x01', n.oid, o.object_type, pg_catalog.array_to_string(o.address_names[2:], E'\x01'))"
		" FROM pg_catalog.pg_event_trigger_dropped_objects() o"
		" JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) o.address_names[1]"
		" WHERE o.object_type IN ('table constraint', 'index')";
	ZdmDdl		ddl = {.command = command};
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, 0, NULL))
	{
		ZdmDropped *dropped = palloc0_object(ZdmDropped);
		char	   *kind = strchr(lfirst(lc), '\x01');
		char	   *name;

		*kind++ = '\0';
		name = strchr(kind, '\x01');
		*name++ = '\0';
		dropped->schema = (Oid) strtoul(lfirst(lc), NULL, 10);
		dropped->name = name;
		if (strcmp(kind, "index") != 0)
		{
			dropped->table = name;
			dropped->name = strchr(name, '\x01');
			*dropped->name++ = '\0';
		}
		ddl.dropped = lappend(ddl.dropped, dropped);
	}
	if (ddl.dropped != NIL)
		follow(NIL, &ddl);
}

/*
 * Run statements that the guard is to let pass.
 */
void
zdm_run_own_ddl(List *texts)
{
	ListCell   *lc;

	zdm_own_ddl = true;
	PG_TRY();
	{
		foreach(lc, texts)
			zdm_execute_ddl(lfirst(lc));
	}
	PG_FINALLY();
	{
		zdm_own_ddl = false;
	}
	PG_END_TRY();
	CommandCounterIncrement();
}

/*
 * What was granted or revoked on one of two relations is on the other: of the
 * migrations that the command's start has locked, which are returned.
 */
List *
zdm_repeat_grant(GrantStmt *stmt)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (stmt->objtype != OBJECT_TABLE)
		return NIL;
	foreach(lc, zdm_migrations_in_flight())
	{
		ZdmMigration *migration = lfirst(lc);

		if (zdm_pattern(migration)->privileges == NULL ||
			!zdm_privileges_locked(migration->id))
			continue;
		repeat_privileges(migration, stmt);
		result = lappend(result, migration);
	}
	return result;
}

static void
repeat_privileges(ZdmMigration *migration, const GrantStmt *stmt)
{
	/* A second column of one changes what the other's columns have. */
	for (int pass = 0; pass < 2; pass++)
		zdm_run_own_ddl(zdm_pattern(migration)->privileges(migration, stmt));
	if (!stmt->is_grant)
		repeat_as_owner(migration, stmt);
}

/*
 * A new view has its privileges from the owner, whoever granted them on the
 * table, so nobody else can take them away.
 */
static void
repeat_as_owner(ZdmMigration *migration, const GrantStmt *revoke)
{
	List	   *texts = zdm_pattern(migration)->privileges(migration, revoke);
	ZdmIdentity saved;

	if (texts == NIL)
		return;
	zdm_become(zdm_table_owner(migration->relation), &saved);
	zdm_run_own_ddl(texts);
	zdm_unbecome(&saved);
}

/*
 * DROP OWNED takes away what a role has been granted, and what it has granted
 * to others.
 */
void
zdm_repeat_drop_owned(void)
{
	GrantStmt	revoke = {.type = T_GrantStmt,.objtype = OBJECT_TABLE,.behavior = DROP_CASCADE};
	ListCell   *lc;

	foreach(lc, zdm_migrations_in_flight())
	{
		if (zdm_pattern(lfirst(lc))->privileges != NULL)
			repeat_as_owner(lfirst(lc), &revoke);
	}
}

/*
 * Before the command.  The path is the user's, to find his table by, and
 * nothing runs under it.
 */
void
zdm_guard_start(EventTriggerData *data)
{
	if (zdm_own_ddl)
		return;
	if (IsA(data->parsetree, AlterTableStmt))
	{
		start_alter((AlterTableStmt *) data->parsetree);
		zdm_guard_partitions((AlterTableStmt *) data->parsetree);
	}
	else if (IsA(data->parsetree, DropStmt))
		zdm_guard_dropped_partitions((DropStmt *) data->parsetree);
	else
		zdm_privileges_named(data->parsetree, &privileges_named);
	if (IsA(data->parsetree, GrantStmt))
		start_privileges((GrantStmt *) data->parsetree);
}

/*
 * One after the other: two that grant by either name, as a parallel restore
 * does, would each wait for the other's row of the catalog.
 */
static void
start_privileges(GrantStmt *stmt)
{
	ListCell   *lc;

	if (stmt->objtype != OBJECT_TABLE)
		return;
	foreach(lc, zdm_migrations_in_flight())
	{
		ZdmMigration *migration = lfirst(lc);
		const ZdmPattern *pattern = zdm_pattern(migration);

		if ((pattern->privileges != NULL || pattern->follow != NULL) &&
			(stmt->targtype != ACL_TARGET_OBJECT ||
			 works_on(migration, privileges_named.tables)))
			zdm_lock_privileges(migration->id, migration->name);
	}
}

/*
 * Where ALTER TABLE is going to change the view as well, lock that first, and
 * then the table.
 */
static void
start_alter(AlterTableStmt *stmt)
{
	Oid			relid;
	ListCell   *lc;

	if (!changes_other(stmt))
		return;
	relid = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (!OidIsValid(relid) || !object_ownercheck(RelationRelationId, relid, GetUserId()))
		return;
	foreach(lc, zdm_migrations_on(relid))
	{
		ZdmMigration *migration = lfirst(lc);

		if (zdm_pattern(migration)->mend != NULL && migration->relation == relid)
			(void) zdm_lock_in_order(list_make2(zdm_lock(linitial_oid(migration->others), AccessExclusiveLock),
												zdm_lock(relid, AccessExclusiveLock)));
	}
}

static bool
changes_other(AlterTableStmt *stmt)
{
	Node	   *command = (Node *) stmt;

	return zdm_alters(command, AT_AddColumn, NULL) || zdm_alters(command, AT_ColumnDefault, NULL) ||
		zdm_alters(command, AT_ChangeOwner, NULL) || zdm_alters(command, AT_EnableRowSecurity, NULL);
}
