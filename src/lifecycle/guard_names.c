/*-------------------------------------------------------------------------
 *
 * guard_names.c
 *	  Somebody else's DDL on what the expressions of migrations name.
 *
 * Expressions are kept as text, so that a dump carries them: the server knows
 * of no dependency, and lets go of the function, type or operator that one of
 * them names, or gives it or its schema another name.  From then on each write
 * of the table would fail, and where it is the column's new type, the way back
 * as well.  So whenever such a thing goes or changes, the expressions of all
 * migrations in flight are read again, and the DDL is refused where one of them
 * makes no sense any more.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "tcop/cmdtag.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "lifecycle/guard.h"
#include "lifecycle/lifecycle.h"
#include "lifecycle/registry.h"
#include "schema/relation.h"
#include "sync/expression.h"
#include "util/ident.h"
#include "util/spi.h"

static void read_again(void *arg);

/*
 * Whether a command may have given another name to what an expression can
 * name.
 */
bool
zdm_guard_renames(EventTriggerData *data)
{
	switch (data->tag)
	{
		case CMDTAG_ALTER_AGGREGATE:
		case CMDTAG_ALTER_COLLATION:
		case CMDTAG_ALTER_DOMAIN:
		case CMDTAG_ALTER_EXTENSION:
		case CMDTAG_ALTER_FUNCTION:
		case CMDTAG_ALTER_OPERATOR:
		case CMDTAG_ALTER_ROUTINE:
		case CMDTAG_ALTER_SCHEMA:
		case CMDTAG_ALTER_TEXT_SEARCH_CONFIGURATION:
		case CMDTAG_ALTER_TYPE:
			return true;
		default:
			return false;
	}
}

/*
 * Whether the command drops such a thing; a table's row type goes with it.
 */
bool
zdm_guard_drops(void)
{
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_event_trigger_dropped_objects()"
							 " WHERE (original OR normal) AND NOT is_temporary AND object_type IN"
							 " ('function', 'aggregate', 'procedure', 'type', 'domain', 'operator', 'operator class',"
							 " 'cast', 'collation', 'text search configuration') LIMIT 1",
							 0, NULL) != NIL;
}

void
zdm_guard_names(void)
{
	ListCell   *lc;

	foreach(lc, zdm_migrations_in_flight())
	{
		ZdmMigration *migration = lfirst(lc);
		ErrorData  *error;

		if (migration->rules == NIL || zdm_attempt(read_again, migration, &error) ||
			error->sqlerrcode == ERRCODE_INSUFFICIENT_PRIVILEGE)
			continue;
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("migration \"%s\" on table \"%s\" names what would go, or have another name",
					   migration->name, zdm_relation_label(migration->relation)),
				errdetail("%s", error->message),
				zdm_hint_rollback(migration));
	}
}

/*
 * Only parsed, which runs nobody's code; as the tables' owners, for whoever
 * drops something of his own may lack the schemas of others.  He does not wait
 * for a table that somebody has.
 */
static void
read_again(void *arg)
{
	ZdmMigration *migration = arg;
	ZdmIdentity saved;
	Relation	rel;
	ListCell   *lc,
			   *text;

	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);

		rel = zdm_open_if_free(rule->relation);
		if (rel == NULL)
			continue;
		zdm_become(zdm_table_owner(rule->relation), &saved);
		zdm_pin_style();
		foreach(text, list_concat_copy(rule->up, rule->down))
		{
			if (lfirst(text) != NULL)
				(void) zdm_expression_parse_as(RelationGetDescr(rel), lfirst(text), lfirst(text), 0);
		}
		zdm_unbecome(&saved);
		table_close(rel, AccessShareLock);
	}
	rel = zdm_pattern(migration)->guard ? zdm_open_if_free(migration->relation) : NULL;
	if (rel == NULL)
		return;
	zdm_become(zdm_table_owner(migration->relation), &saved);
	zdm_pattern(migration)->guard(migration, rel);
	zdm_unbecome(&saved);
	table_close(rel, AccessShareLock);
}
