/*-------------------------------------------------------------------------
 *
 * clone_trigger.c
 *	  The application's triggers, on a table like another one.
 *
 * As long as both tables hold every row, a statement on either is mirrored to
 * the other.  The triggers fire on one of the two alone, or everything would be
 * logged, counted and notified twice: first on the old table, then, from
 * contract on, on the new one.  There they are made disabled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "nodes/value.h"
#include "storage/lockdefs.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* What the names of zdm's own triggers begin with. */
#define OWN "~zdm_"

static char *trigger_sql(Relation source, const ZdmClone *clone, const Trigger *trigger);
static void append_events(StringInfo sql, Relation source, const Trigger *trigger);
static char *when_text(Relation source, const Trigger *trigger);
static RangeTblEntry *row_of(Relation source, const char *name);
static ZdmStep *switch_step(Oid table, const char *trigger, char enabled);

/*
 * The steps that make them.
 */
List *
zdm_clone_trigger_steps(Relation source, const ZdmClone *clone)
{
	TriggerDesc *triggers = CopyTriggerDesc(source->trigdesc);
	List	   *steps = NIL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		if (trigger->tgisinternal || strncmp(trigger->tgname, OWN, strlen(OWN)) == 0)
			continue;
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, "copy a trigger",
										trigger_sql(source, clone, trigger)));
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, NoLock, "let it not fire yet",
										psprintf("ALTER TABLE %s DISABLE TRIGGER %s", zdm_clone_name(clone),
												 quote_identifier(trigger->tgname))));
	}
	return steps;
}

static char *
trigger_sql(Relation source, const ZdmClone *clone, const Trigger *trigger)
{
	char	   *when = when_text(source, trigger);
	StringInfoData sql;

	initStringInfo(&sql);
	appendStringInfo(&sql, "CREATE %sTRIGGER %s %s",
					 OidIsValid(trigger->tgconstraint) ? "CONSTRAINT " : "",
					 quote_identifier(trigger->tgname),
					 TRIGGER_FOR_BEFORE(trigger->tgtype) ? "BEFORE"
					 : TRIGGER_FOR_INSTEAD(trigger->tgtype) ? "INSTEAD OF" : "AFTER");
	append_events(&sql, source, trigger);
	appendStringInfo(&sql, " ON %s", zdm_clone_name(clone));
	if (OidIsValid(trigger->tgconstrrelid))
		appendStringInfo(&sql, " FROM %s", zdm_quote_relation(trigger->tgconstrrelid));
	if (OidIsValid(trigger->tgconstraint))
		appendStringInfo(&sql, "%s%s", trigger->tgdeferrable ? " DEFERRABLE" : " NOT DEFERRABLE",
						 trigger->tginitdeferred ? " INITIALLY DEFERRED" : "");
	if (trigger->tgoldtable != NULL || trigger->tgnewtable != NULL)
		appendStringInfoString(&sql, " REFERENCING");
	if (trigger->tgoldtable != NULL)
		appendStringInfo(&sql, " OLD TABLE AS %s", quote_identifier(trigger->tgoldtable));
	if (trigger->tgnewtable != NULL)
		appendStringInfo(&sql, " NEW TABLE AS %s", quote_identifier(trigger->tgnewtable));
	appendStringInfo(&sql, " FOR EACH %s", TRIGGER_FOR_ROW(trigger->tgtype) ? "ROW" : "STATEMENT");
	if (when != NULL)
		appendStringInfo(&sql, " WHEN (%s)", when);
	appendStringInfo(&sql, " EXECUTE FUNCTION %s(",
					 quote_qualified_identifier(get_namespace_name(get_func_namespace(trigger->tgfoid)),
												get_func_name(trigger->tgfoid)));
	for (int i = 0; i < trigger->tgnargs; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_literal_cstr(trigger->tgargs[i]));
	appendStringInfoChar(&sql, ')');
	return sql.data;
}

static void
append_events(StringInfo sql, Relation source, const Trigger *trigger)
{
	const char *separator = "";

	if (TRIGGER_FOR_INSERT(trigger->tgtype))
	{
		appendStringInfoString(sql, " INSERT");
		separator = " OR";
	}
	if (TRIGGER_FOR_DELETE(trigger->tgtype))
	{
		appendStringInfo(sql, "%s DELETE", separator);
		separator = " OR";
	}
	if (TRIGGER_FOR_UPDATE(trigger->tgtype))
	{
		appendStringInfo(sql, "%s UPDATE", separator);
		separator = " OR";
		for (int i = 0; i < trigger->tgnattr; i++)
			appendStringInfo(sql, "%s %s", i > 0 ? "," : " OF",
							 quote_identifier(get_attname(RelationGetRelid(source), trigger->tgattr[i], false)));
	}
	if (TRIGGER_FOR_TRUNCATE(trigger->tgtype))
		appendStringInfo(sql, "%s TRUNCATE", separator);
}

/*
 * The condition, over the rows old and new, which are the first and the second
 * relation of its tree.  NULL where there is none.
 */
static char *
when_text(Relation source, const Trigger *trigger)
{
	PlannedStmt *rows;
	ZdmIdentity saved;
	char	   *result;

	if (trigger->tgqual == NULL)
		return NULL;
	rows = makeNode(PlannedStmt);
	rows->rtable = list_make2(row_of(source, "old"), row_of(source, "new"));
	zdm_pin_path(&saved);
	zdm_pin_style();
	result = deparse_expression(stringToNode(trigger->tgqual),
								deparse_context_for_plan_tree(rows, list_make2(pstrdup("old"), pstrdup("new"))),
								true, false);
	zdm_unbecome(&saved);
	return result;
}

static RangeTblEntry *
row_of(Relation source, const char *name)
{
	RangeTblEntry *entry = makeNode(RangeTblEntry);

	entry->rtekind = RTE_RELATION;
	entry->relid = RelationGetRelid(source);
	entry->relkind = source->rd_rel->relkind;
	entry->rellockmode = AccessShareLock;
	entry->alias = entry->eref = makeAlias(name, NIL);
	entry->inFromCl = true;
	return entry;
}

/*
 * The steps that let the triggers fire on one table rather than on the other,
 * as they do there: from has them on, to has them off.
 */
List *
zdm_clone_switch_steps(Oid from, Oid to)
{
	List	   *rows = zdm_query_strings("SELECT pg_catalog.format('%s%s', t.tgenabled, t.tgname) FROM pg_catalog.pg_trigger t"
										 " WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND NOT t.tgisinternal"
										 " AND NOT pg_catalog.starts_with(t.tgname::pg_catalog.text, '" OWN "')"
										 " AND EXISTS (SELECT FROM pg_catalog.pg_trigger u"
										 " WHERE u.tgrelid OPERATOR(pg_catalog.=) $2 AND u.tgname OPERATOR(pg_catalog.=) t.tgname)"
										 " ORDER BY t.tgname COLLATE \"C\"",
										 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(from)),
												  ZDM_ARG(OIDOID, ObjectIdGetDatum(to))));
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		char	   *row = lfirst(lc);

		if (row[0] == TRIGGER_DISABLED)
			continue;
		steps = lappend(steps, switch_step(to, row + 1, row[0]));
		steps = lappend(steps, switch_step(from, row + 1, TRIGGER_DISABLED));
	}
	return steps;
}

static ZdmStep *
switch_step(Oid table, const char *trigger, char enabled)
{
	return zdm_step_on(table, ZDM_STEP_DDL, ShareRowExclusiveLock,
					   enabled == TRIGGER_DISABLED ? "let a trigger fire no more" : "let a trigger fire here",
					   psprintf("ALTER TABLE %s %s TRIGGER %s", zdm_quote_relation(table),
								enabled == TRIGGER_DISABLED ? "DISABLE" :
								enabled == TRIGGER_FIRES_ALWAYS ? "ENABLE ALWAYS" :
								enabled == TRIGGER_FIRES_ON_REPLICA ? "ENABLE REPLICA" : "ENABLE",
								quote_identifier(trigger)));
}
