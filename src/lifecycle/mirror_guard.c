/*-------------------------------------------------------------------------
 *
 * mirror_guard.c
 *	  What two tables that mirror each other must keep.
 *
 * The triggers, the statistics object that loads the library before a
 * statement, and the index by which a row's counterpart is found: without the
 * first the tables fall apart, without the second an old and a new version may
 * deadlock, and without the third each write reads the whole other table, and
 * may meet several rows there.  They are asked for where something of the kind
 * has been dropped or renamed only, as a restore makes them last.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/mirror_rule.h"
#include "catalog/sync_rule.h"
#include "lifecycle/guard.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/mirror_guard.h"
#include "patterns/pattern.h"
#include "schema/clone.h"
#include "schema/join_table.h"
#include "sync/mirror_install.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static bool was_dropped(const char *condition);
static void check_triggers(ZdmMigration *migration);
static void check_statistics(ZdmMigration *migration);
static void check_keys(ZdmMigration *migration);
static void check_key(ZdmMigration *migration, Oid relid, List *columns, bool unique);

/*
 * After a command that drops anything.
 */
void
zdm_guard_mirror_drop(void)
{
	bool		triggers = was_dropped("object_type OPERATOR(pg_catalog.=) 'trigger'"
									   " AND pg_catalog.starts_with(address_names[3], '" ZDM_MIRROR_TRIGGER "')");
	bool		statistics = was_dropped("object_type OPERATOR(pg_catalog.=) 'statistics object'"
										 " AND address_names[2] OPERATOR(pg_catalog.~) '^~zdm_.*load$'");
	bool		keys = was_dropped("object_type OPERATOR(pg_catalog.=) ANY (ARRAY['index', 'table constraint'])");
	ListCell   *lc;

	foreach(lc, triggers || statistics || keys ? zdm_migrations_in_flight() : NIL)
	{
		if (triggers)
			check_triggers(lfirst(lc));
		if (statistics)
			check_statistics(lfirst(lc));
		if (keys)
			check_keys(lfirst(lc));
	}
}

/*
 * After a trigger or a statistics object has got another name.
 */
void
zdm_guard_mirror_rename(RenameStmt *stmt)
{
	ListCell   *lc;

	if (stmt->renameType == OBJECT_TRIGGER && strncmp(stmt->subname, ZDM_MIRROR_TRIGGER, strlen(ZDM_MIRROR_TRIGGER)) == 0)
		foreach(lc, zdm_migrations_in_flight())
			check_triggers(lfirst(lc));
	else if (stmt->renameType == OBJECT_STATISTIC_EXT)
		foreach(lc, zdm_migrations_in_flight())
			check_statistics(lfirst(lc));
}

static bool
was_dropped(const char *condition)
{
	return zdm_query_strings(psprintf("SELECT objid::pg_catalog.text FROM pg_catalog.pg_event_trigger_dropped_objects() WHERE %s",
									  condition), 0, NULL) != NIL;
}

static void
check_triggers(ZdmMigration *migration)
{
	Oid			relid;
	const char *trigger = zdm_mirror_trigger_missing(migration, &relid);

	if (trigger != NULL)
		zdm_needed(migration, psprintf("trigger \"%s\"", trigger), relid);
}

static void
check_statistics(ZdmMigration *migration)
{
	ListCell   *lc;

	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (get_rel_name(rule->second) != NULL && !zdm_mirror_has_statistics(rule))
			zdm_needed(migration, "statistics object \"~zdm_..._load\"", rule->second);
	}
}

static void
check_keys(ZdmMigration *migration)
{
	ListCell   *lc;

	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (rule->optional == 0 || rule->referencing)
			check_key(migration, rule->first, rule->first_keys, true);
		check_key(migration, rule->second, rule->second_keys, rule->optional > 0 && !rule->several);
	}
}

/*
 * A second table may have a longer key, by which it is partitioned.
 */
static void
check_key(ZdmMigration *migration, Oid relid, List *columns, bool unique)
{
	Relation	rel;
	bool		found;

	if (get_rel_name(relid) == NULL)
		return;
	rel = table_open(relid, AccessShareLock);
	found = unique ? zdm_has_unique_index(rel, columns) : zdm_has_key_index(relid, columns, false);
	table_close(rel, AccessShareLock);
	if (!found)
		zdm_needed(migration, psprintf("%s of columns %s", unique ? "a unique index" : "an index",
									   zdm_names_text(columns)), relid);
}
