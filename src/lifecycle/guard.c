/*-------------------------------------------------------------------------
 *
 * guard.c
 *	  Somebody else's DDL on a table with a migration in flight.
 *
 * A column that is renamed or dropped, a trigger that is dropped, a type that
 * is changed under a migration would break the application's writes, or leave
 * them out of sync, minutes or days later.  The DDL is the moment to say so.
 *
 * Called at the end of ALTER TABLE and of anything that creates or alters a
 * trigger or a view, of GRANT and REVOKE, of DROP, and at the start of DROP
 * EXTENSION.  A table that goes takes its migrations with it.  What a rule names
 * besides, as a function, has to stay as well (guard_names.c).  What is not
 * refused, and has to come to another relation as well, is repeated there
 * (repeat.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "tcop/cmdtag.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/event.h"
#include "catalog/migration.h"
#include "catalog/mirror_difference.h"
#include "catalog/mirror_rule.h"
#include "catalog/range.h"
#include "catalog/sync_rule.h"
#include "lifecycle/checks.h"
#include "lifecycle/guard.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/mirror_guard.h"
#include "lifecycle/registry.h"
#include "lifecycle/repeat.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "sync/mirror_install.h"
#include "sync/row_sync.h"
#include "sync/rule.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static void guard_alter(bool warn_disabled, Node *parsetree);
static bool makes_partition(Node *parsetree);
static const char *attached_name(Node *parsetree);
static void guard_drop(Node *parsetree);
static void guard_extension(Node *parsetree);
static void guard_grant(GrantStmt *stmt);
static void check_inheritance(Oid relid, const char *attached);
static void check_part(Oid part, const char *whole, const char *attached);
static void check_partition(ZdmMigration *migration, Oid relid, bool warn_disabled);
static void check_migration(ZdmMigration *migration, List *bereft, bool warn_disabled);
static void check_rules(ZdmMigration *migration, Relation rel, bool demand_trigger, bool warn_disabled);
static void check_rule(ZdmMigration *migration, ZdmSyncRule *rule);
static void compile_rules(void *arg);
static bool check_triggers(ZdmMigration *migration, Relation rel, bool warn_disabled);
static void out_of_sync(ZdmMigration *migration, Oid relid, bool off);
static pg_noreturn void trigger_needed(ZdmMigration *migration, Relation rel);
static void check_mirrors(ZdmMigration *migration);
static void check_others(ZdmMigration *migration);
static void table_dropped(ZdmMigration *migration);

void
zdm_guard(EventTriggerData *data)
{
	if (zdm_own_ddl)
		return;
	if (strcmp(data->event, "ddl_command_end") == 0 && IsA(data->parsetree, GrantStmt))
		guard_grant((GrantStmt *) data->parsetree);
	else if (strcmp(data->event, "ddl_command_end") == 0 && IsA(data->parsetree, DropOwnedStmt))
	{
		zdm_repeat_drop_owned();
		zdm_repeat_on_twins(NIL, data->parsetree);
	}
	else if (strcmp(data->event, "ddl_command_end") == 0 && zdm_guard_renames(data))
		zdm_guard_names();
	else if (strcmp(data->event, "ddl_command_end") == 0)
		guard_alter(data->tag != CMDTAG_CREATE_TRIGGER, data->parsetree);
	else if (strcmp(data->event, "sql_drop") == 0)
		guard_drop(data->parsetree);
	else
		guard_extension(data->parsetree);
}

/*
 * Every table that the command touched, and has a migration: is everything
 * still there that the migration needs?
 */
static void
guard_alter(bool warn_disabled, Node *parsetree)
{
	List	   *names = zdm_query_strings("SELECT DISTINCT m.oid::pg_catalog.int8::pg_catalog.text FROM"
										  " (SELECT CASE WHEN c.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_trigger'::pg_catalog.regclass"
										  " THEN (SELECT t.tgrelid FROM pg_catalog.pg_trigger t WHERE t.oid OPERATOR(pg_catalog.=) c.objid)"
										  " WHEN c.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
										  " THEN (SELECT r.ev_class FROM pg_catalog.pg_rewrite r WHERE r.oid OPERATOR(pg_catalog.=) c.objid)"
										  " WHEN c.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_constraint'::pg_catalog.regclass"
										  " THEN (SELECT k.conrelid FROM pg_catalog.pg_constraint k WHERE k.oid OPERATOR(pg_catalog.=) c.objid)"
										  " ELSE coalesce((SELECT i.indrelid FROM pg_catalog.pg_index i WHERE i.indexrelid OPERATOR(pg_catalog.=) c.objid),"
										  " c.objid) END AS oid FROM pg_catalog.pg_event_trigger_ddl_commands() c"
										  " WHERE c.classid OPERATOR(pg_catalog.=) ANY"
										  " (ARRAY['pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_trigger'::pg_catalog.regclass,"
										  " 'pg_catalog.pg_rewrite'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass]::pg_catalog.oid[])) m"
										  " WHERE m.oid IS NOT NULL",
										  0, NULL);
	bool		partition = makes_partition(parsetree);
	List	   *concerned = NIL;
	ListCell   *lc,
			   *migration;

	foreach(lc, names)
	{
		Oid			altered = (Oid) strtoul(lfirst(lc), NULL, 10);
		Oid			relid = zdm_root_table(altered);

		check_inheritance(altered, attached_name(parsetree));
		foreach(migration, zdm_migrations_on(relid))
		{
			concerned = list_append_unique_oid(concerned, relid);
			if (partition)
				zdm_run_own_ddl(zdm_mirror_partition_texts(lfirst(migration)));
			check_migration(lfirst(migration), NIL, warn_disabled);
			if (altered != relid && list_member_oid(zdm_rules_tables(((ZdmMigration *) lfirst(migration))->rules), relid))
				check_partition(lfirst(migration), altered, warn_disabled);
			zdm_ranges_keep_only(((ZdmMigration *) lfirst(migration))->id,
								 zdm_compared_storage(lfirst(migration)));
		}
	}
	if (concerned != NIL)
		zdm_repeat_on_twins(concerned, parsetree);
	if (parsetree != NULL && IsA(parsetree, RenameStmt))
		zdm_guard_mirror_rename((RenameStmt *) parsetree);
	if (parsetree != NULL && zdm_alters(parsetree, AT_DetachPartition, NULL))
		foreach(lc, zdm_mirror_stray_steps(zdm_migrations_in_flight()))
			zdm_run_as_owner(lfirst(lc));
}

static void
guard_grant(GrantStmt *stmt)
{
	ListCell   *lc;

	foreach(lc, zdm_repeat_grant(stmt))
		check_migration(lfirst(lc), NIL, false);
	if (stmt->objtype == OBJECT_TABLE)
		zdm_repeat_on_twins(NIL, (Node *) stmt);
}

/*
 * Whether a table becomes a partition.  No other DDL makes triggers: in the
 * middle of a restore they would be in the way of those that it makes.
 */
static bool
makes_partition(Node *parsetree)
{
	if (parsetree != NULL && IsA(parsetree, CreateStmt))
		return ((CreateStmt *) parsetree)->partbound != NULL;
	return attached_name(parsetree) != NULL;
}

/*
 * The table that ALTER TABLE makes a partition or a child, without its schema;
 * NULL for none.
 */
static const char *
attached_name(Node *parsetree)
{
	ListCell   *lc;

	if (parsetree == NULL || !IsA(parsetree, AlterTableStmt))
		return NULL;
	foreach(lc, ((AlterTableStmt *) parsetree)->cmds)
	{
		AlterTableCmd *cmd = lfirst_node(AlterTableCmd, lc);

		if (cmd->subtype == AT_AttachPartition)
			return castNode(PartitionCmd, cmd->def)->name->relname;
		if (cmd->subtype == AT_AddInherit)
			return ((AlterTableStmt *) parsetree)->relation->relname;
	}
	return NULL;
}

/*
 * Row triggers of a parent do not fire for the children it has by
 * inheritance.
 */
static void
check_inheritance(Oid relid, const char *attached)
{
	List	   *parents;
	ListCell   *lc;

	/* Neither can a table in flight become a partition, or a child. */
	foreach(lc, zdm_table_and_partitions(relid))
	{
		if (lfirst_oid(lc) != relid)
			check_part(lfirst_oid(lc), get_rel_name(relid), attached);
	}
	if (get_rel_relispartition(relid))
		return;
	parents = zdm_query_strings("SELECT inhparent::pg_catalog.oid::pg_catalog.text FROM pg_catalog.pg_inherits"
								" WHERE inhrelid OPERATOR(pg_catalog.=) $1",
								ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid))));
	foreach(lc, parents)
	{
		Oid			parent = (Oid) strtoul(lfirst(lc), NULL, 10);
		List	   *migrations = zdm_migrations_on(parent);

		if (attached != NULL)
			check_part(relid, get_rel_name(parent), attached);
		if (migrations != NIL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("table \"%s\" cannot have children by inheritance while migration \"%s\" is in flight",
						   get_rel_name(parent), ((ZdmMigration *) linitial(migrations))->name),
					errdetail("They would not be kept in sync."),
					zdm_hint_rollback(linitial(migrations)));
	}
}

/*
 * A partition or child in flight is not altered with the whole, and does not
 * become a part.
 */
static void
check_part(Oid part, const char *whole, const char *attached)
{
	List	   *migrations = zdm_migrations_on(part);
	const char *name = get_rel_name(part);

	if (migrations == NIL)
		return;
	if (attached != NULL && strcmp(attached, name) == 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("table \"%s\" cannot become part of table \"%s\" while migration \"%s\" is in flight",
					   name, whole, ((ZdmMigration *) linitial(migrations))->name),
				zdm_hint_rollback(linitial(migrations)));
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("table \"%s\" cannot be altered while migration \"%s\" of its part \"%s\" is in flight",
				   whole, ((ZdmMigration *) linitial(migrations))->name, name),
			errdetail("What is changed in a table is changed in its partitions and children, too."),
			zdm_hint_rollback(linitial(migrations)));
}

static void
check_partition(ZdmMigration *migration, Oid relid, bool warn_disabled)
{
	Relation	rel = table_open(relid, AccessShareLock);

	(void) check_triggers(migration, rel, warn_disabled);
	table_close(rel, AccessShareLock);
}

/*
 * Whether a migration's tables still have what it needs.  bereft: the tables
 * (oids) that have just lost the sync trigger.  A restore makes tables and
 * fills the catalog before it makes triggers, so the trigger is asked for only
 * there; and it makes the trigger before it enables it always, so CREATE
 * TRIGGER warns of nothing.  It also alters several tables at once: one that
 * somebody else's command has is looked at by that, when it ends.
 */
static void
check_migration(ZdmMigration *migration, List *bereft, bool warn_disabled)
{
	Relation	rel = zdm_open_if_free(migration->relation);
	ListCell   *lc;

	foreach(lc, migration->rules)
		check_rule(migration, lfirst(lc));
	if (rel != NULL && zdm_pattern(migration)->guard != NULL)
		zdm_pattern(migration)->guard(migration, rel);
	if (rel != NULL && zdm_pattern(migration)->mend != NULL)
		zdm_repeat_alter(migration, rel);
	if (rel != NULL)
		relation_close(rel, AccessShareLock);
	foreach(lc, zdm_rules_tables(migration->rules))
	{
		rel = zdm_open_if_free(lfirst_oid(lc));
		if (rel == NULL)
			continue;
		check_rules(migration, rel, list_member_oid(bereft, lfirst_oid(lc)), warn_disabled);
		table_close(rel, AccessShareLock);
	}
	if (warn_disabled)
		check_mirrors(migration);
}

/*
 * Warn of triggers that are to write the other table and do not fire.  One
 * that is not there is none: a restore makes it last.
 */
static void
check_mirrors(ZdmMigration *migration)
{
	Oid			relid;

	if (migration->mirrors == NIL)
		return;
	relid = zdm_mirror_trigger_disabled(migration);
	if (!OidIsValid(relid))
	{
		if (migration->trigger_off && !OidIsValid(zdm_table_out_of_sync(migration)))
			out_of_sync(migration, migration->relation, false);
		return;
	}
	out_of_sync(migration, relid, true);
	ereport(WARNING,
			errmsg("table \"%s\" is not kept in sync while its trigger \"%s\" is disabled",
				   get_rel_name(relid), ZDM_MIRROR_TRIGGER),
			errhint("ALTER TABLE %s ENABLE TRIGGER %s; then check with zdm.verify(%s).",
					zdm_quote_relation(relid), quote_identifier(ZDM_MIRROR_TRIGGER),
					quote_literal_cstr(migration->name)));
}

/*
 * A rule needs its columns.
 */
static void
check_rule(ZdmMigration *migration, ZdmSyncRule *rule)
{
	ListCell   *lc;

	foreach(lc, list_concat_copy(rule->old_columns, rule->new_columns))
	{
		if (get_attnum(rule->relation, lfirst(lc)) <= 0)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("column \"%s\" of table \"%s\" is needed by migration \"%s\"",
						   (char *) lfirst(lc), get_rel_name(rule->relation), migration->name),
					zdm_hint_rollback(migration));
	}
}

/*
 * The trigger, and the rules as a whole, of one table.
 */
static void
check_rules(ZdmMigration *migration, Relation rel, bool demand_trigger, bool warn_disabled)
{
	ErrorData  *error;

	if (!check_triggers(migration, rel, warn_disabled) && demand_trigger)
		trigger_needed(migration, rel);
	if (!zdm_attempt(compile_rules, rel, &error))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("columns of table \"%s\" would no longer fit migration \"%s\"",
					   RelationGetRelationName(rel), migration->name),
				errdetail("%s", error->message),
				zdm_hint_rollback(migration));
}

/*
 * Fails where the rules' expressions do not fit the columns' types any more.
 * As the owner: planning an expression may run its functions, and whoever
 * alters the table may be a superuser.
 */
static void
compile_rules(void *arg)
{
	ZdmIdentity saved;

	zdm_become(zdm_table_owner(RelationGetRelid((Relation) arg)), &saved);
	(void) zdm_rules_get(arg);
	zdm_unbecome(&saved);
}

/*
 * The rows of a table may differ, from now on or up to now.  Before contract
 * the backfill looks at them again; in the quarantine, whatever ends it does.
 */
static void
out_of_sync(ZdmMigration *migration, Oid relid, bool off)
{
	zdm_migration_set_trigger_off(migration, off);
	if (migration->state == ZDM_CONTRACTED)
		zdm_ranges_delete(migration->id);
	else
		zdm_ranges_verify_again(migration->id);
	/* With nothing to migrate, there is nothing to be done again. */
	if (migration->state == ZDM_READY &&
		zdm_migrate_steps(migration) != NIL)
		zdm_migration_set_state(migration, ZDM_EXPANDED);
	zdm_event(migration, "warning", off ? "trigger off" : "trigger on",
			  psprintf("on table \"%s\"", get_rel_name(relid)));
}

static void
trigger_needed(ZdmMigration *migration, Relation rel)
{
	zdm_needed(migration, psprintf("trigger \"%s\"", ZDM_SYNC_TRIGGER), RelationGetRelid(rel));
}

void
zdm_needed(ZdmMigration *migration, const char *what, Oid relid)
{
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_IN_USE),
			errmsg("%s on table \"%s\" is needed by migration \"%s\"", what,
				   get_rel_name(relid), migration->name),
			zdm_hint_rollback(migration));
}

/*
 * Warn of triggers that keep ours from doing its work.  Returns whether ours
 * is there; under another name it is an error.
 */
static bool
check_triggers(ZdmMigration *migration, Relation rel, bool warn_disabled)
{
	/* A copy: what is called here may make the relcache build it anew. */
	TriggerDesc *triggers = CopyTriggerDesc(rel->trigdesc);
	Oid			sync_function = LookupFuncName(list_make2(makeString(pstrdup("zdm")), makeString(pstrdup("_sync_row"))),
											   0, NULL, true);
	bool		found = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (strcmp(trigger->tgname, ZDM_SYNC_TRIGGER) == 0)
		{
			found = true;
			if (migration->trigger_off && trigger->tgenabled == TRIGGER_FIRES_ALWAYS &&
				!OidIsValid(zdm_table_out_of_sync(migration)))
				out_of_sync(migration, RelationGetRelid(rel), false);
			if (warn_disabled && trigger->tgenabled != TRIGGER_FIRES_ALWAYS)
			{
				out_of_sync(migration, RelationGetRelid(rel), true);
				ereport(WARNING,
						errmsg(trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN
							   ? "replicated rows of table \"%s\" are not kept in sync while its trigger \"%s\" is not ENABLE ALWAYS"
							   : "table \"%s\" is not kept in sync while its trigger \"%s\" is disabled",
							   RelationGetRelationName(rel), ZDM_SYNC_TRIGGER),
						errhint("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s; then check with zdm.verify(%s).",
								zdm_quote_relation(RelationGetRelid(rel)),
								quote_identifier(ZDM_SYNC_TRIGGER),
								quote_literal_cstr(migration->name)));
			}
		}
		else if (trigger->tgfoid == sync_function)
			trigger_needed(migration, rel);
		else if (zdm_trigger_changes_row(trigger) &&
				 strcmp(trigger->tgname, ZDM_SYNC_TRIGGER) > 0)
			ereport(WARNING,
					errmsg("trigger \"%s\" on table \"%s\" fires after zdm's and can make the columns of migration \"%s\" differ",
						   trigger->tgname, RelationGetRelationName(rel), migration->name),
					errhint("Rename it so that it sorts before \"%s\".", ZDM_SYNC_TRIGGER));
	}
	return found;
}

/*
 * A dropped table ends its migrations; of one that stays, nothing may go that
 * they need.  Only the tables that the command dropped something of are
 * looked at.
 */
static void
guard_drop(Node *parsetree)
{
	static const char *const tables_sql =
		"SELECT DISTINCT objid::pg_catalog.text FROM pg_catalog.pg_event_trigger_dropped_objects()"
		" WHERE classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
		" UNION SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', address_names[1], address_names[2]))::oid::pg_catalog.text"
		" FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE object_type OPERATOR(pg_catalog.=) 'table constraint'";
	static const char *const triggers_sql =
		"SELECT pg_catalog.to_regclass(pg_catalog.format('%I.%I', address_names[1], address_names[2]))::oid::pg_catalog.text"
		" FROM pg_catalog.pg_event_trigger_dropped_objects()"
		" WHERE object_type OPERATOR(pg_catalog.=) 'trigger' AND address_names[3] OPERATOR(pg_catalog.=) $1";
	List	   *migrations = zdm_migrations_in_flight();
	List	   *tables;
	List	   *triggers;
	ListCell   *lc,
			   *table;

	if (migrations == NIL)
		return;
	tables = zdm_query_strings(tables_sql, 0, NULL);
	triggers = zdm_query_strings(triggers_sql, ZDM_ARGS(zdm_arg_text(ZDM_SYNC_TRIGGER)));
	foreach(lc, migrations)
	{
		ZdmMigration *migration = lfirst(lc);
		List	   *bereft = NIL;
		bool		concerned = false;

		foreach(table, lcons_oid(migration->relation, list_copy(migration->others)))
		{
			char	   *relid = psprintf("%u", lfirst_oid(table));

			if (zdm_is_among(triggers, relid))
				bereft = lappend_oid(bereft, lfirst_oid(table));
			concerned |= bereft != NIL || zdm_is_among(tables, relid);
		}
		if (!concerned)
			continue;
		if (get_rel_name(migration->relation) == NULL)
			table_dropped(migration);
		else
		{
			check_others(migration);
			check_migration(migration, bereft, false);
		}
	}
	zdm_guard_mirror_drop();
	if (zdm_guard_drops())
		zdm_guard_names();
	zdm_repeat_drop(parsetree);
}

/*
 * The other tables cannot go before the migration's own.
 */
static void
check_others(ZdmMigration *migration)
{
	ListCell   *lc;

	foreach(lc, migration->others)
	{
		if (get_rel_name(lfirst_oid(lc)) == NULL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("a relation that goes is needed by migration \"%s\" on table \"%s\"",
						   migration->name, get_rel_name(migration->relation)),
					zdm_hint_rollback(migration));
	}
}

static void
table_dropped(ZdmMigration *migration)
{
	zdm_sync_rules_delete(migration->id);
	zdm_mirror_rules_delete(migration->id);
	zdm_mirror_differences_delete(migration->id);
	zdm_ranges_delete(migration->id);
	zdm_migration_set_state(migration, ZDM_ROLLED_BACK);
	zdm_event(migration, "warning", "table dropped", NULL);
}

static void
guard_extension(Node *parsetree)
{
	DropStmt   *drop = (DropStmt *) parsetree;
	List	   *migrations;
	ListCell   *lc;

	if (drop == NULL || !IsA(drop, DropStmt) || drop->removeType != OBJECT_EXTENSION)
		return;
	foreach(lc, drop->objects)
	{
		if (strcmp(strVal(lfirst(lc)), "zdm") != 0)
			continue;
		migrations = zdm_migrations_in_flight();
		if (migrations != NIL)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("migration \"%s\" is in flight", ((ZdmMigration *) linitial(migrations))->name),
					errdetail("Without the extension its tables would no longer be kept in sync, and its columns would stay."),
					errhint("Finish every migration that zdm.status lists, or SELECT zdm.rollback(migration) FROM zdm.status;"));
	}
}
