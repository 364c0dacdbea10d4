/*-------------------------------------------------------------------------
 *
 * mirror_install.c
 *	  The steps that put mirror rules on tables and take them off.
 *
 * The triggers serve all rules of a table: they come with the first and go
 * with the last.  A second table has two more than a first one, which see to
 * the order of locks.  Triggers for statements are not inherited, so each
 * partition has its own.
 *
 * The order of locks needs the library before a statement begins, and a
 * trigger loads it only in the middle of a session's first.  Therefore a
 * second table has a statistics object whose expression calls a function of
 * the library on a constant: the planner evaluates that whenever it plans a
 * statement on the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/mirror_rule.h"
#include "catalog/step.h"
#include "schema/relation.h"
#include "sync/mirror_install.h"
#include "util/ident.h"
#include "util/spi.h"

/* The triggers; a partition has those of its table that are for rows. */
static const struct
{
	const char *name;
	const char *events;
	const char *level;
	bool		second_only;
	bool		inherited;
	const char *description;
}			triggers[] =

{
	{ZDM_MIRROR_TRIGGER, "AFTER INSERT OR UPDATE OR DELETE", "ROW", false, true,
	"create the trigger that writes the other table"},
	{ZDM_MIRROR_TRUNCATE_TRIGGER, "AFTER TRUNCATE", "STATEMENT", false, false,
	"create the trigger for TRUNCATE"},
	{ZDM_MIRROR_LOCK_TRIGGER, "BEFORE INSERT", "ROW", true, true,
	"create the trigger that locks the other table's row first"},
	{ZDM_MIRROR_ORDER_TRIGGER, "BEFORE UPDATE OR DELETE", "STATEMENT", true, false,
	"create the trigger that has it locked first"},
};

static ZdmStep *drop_statistics_step(ZdmMirrorRule *rule);
static void drop_statistics(ZdmStep *step);
static List *statistics_of(Oid relid, const char *expression);
static char *statistics_name(ZdmMirrorRule *rule);
static List *each_trigger(ZdmMigration *migration, bool create);
static List *table_triggers(ZdmMigration *migration, Oid relid, bool second,
							bool create);
static List *new_table_triggers(ZdmMirrorRule *rule, bool create);
static ZdmStep *trigger_step(Oid relid, const char *table, size_t number, bool create);
static bool others_need(ZdmMigration *migration, Oid relid, bool second);

List *
zdm_mirror_install_steps(ZdmMigration *migration)
{
	List	   *steps = each_trigger(migration, true);
	ListCell   *lc;

	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (!others_need(migration, rule->second, true))
			steps = lappend(steps,
							zdm_step_on(rule->second, ZDM_STEP_DDL, ShareUpdateExclusiveLock,
										"have whoever plans a statement on it load the library",
										psprintf("CREATE STATISTICS %s ON (zdm._load() AND %s IS NULL) FROM %s",
												 statistics_name(rule),
												 quote_identifier(linitial(rule->second_keys)),
												 zdm_mirror_second_name(rule))));
	}
	return lappend(steps, zdm_step(ZDM_STEP_ADD_RULES, NoLock, "install the mirror rule", NULL));
}

List *
zdm_mirror_remove_steps(ZdmMigration *migration)
{
	List	   *steps = list_make1(zdm_step(ZDM_STEP_DROP_RULES, NoLock, "remove the mirror rule", NULL));
	ListCell   *lc;

	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (!others_need(migration, rule->second, true))
			steps = lappend(steps, drop_statistics_step(rule));
	}
	return list_concat(steps, each_trigger(migration, false));
}

static ZdmStep *
drop_statistics_step(ZdmMirrorRule *rule)
{
	ZdmStep    *step = zdm_step_on(rule->second, ZDM_STEP_CATALOG, ShareUpdateExclusiveLock,
								   "drop the statistics object that loads the library",
								   psprintf("DROP STATISTICS IF EXISTS %s", statistics_name(rule)));

	step->change = drop_statistics;
	return step;
}

/*
 * As a part of the table, which may have another owner since.
 */
static void
drop_statistics(ZdmStep *step)
{
	ListCell   *lc;

	foreach(lc, statistics_of(step->relation, "s.oid::pg_catalog.text"))
	{
		ObjectAddress object;

		ObjectAddressSet(object, StatisticExtRelationId, (Oid) strtoul(lfirst(lc), NULL, 10));
		performDeletion(&object, DROP_RESTRICT, 0);
	}
}

/*
 * The statistics objects that load the library for a table: what the
 * expression says of each of them, s.
 */
static List *
statistics_of(Oid relid, const char *expression)
{
	return zdm_query_strings(psprintf("SELECT %s FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid OPERATOR(pg_catalog.=) $1"
									  " AND s.stxname OPERATOR(pg_catalog.~) '^~zdm_.*load$'", expression),
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid))));
}

/*
 * Its name: the one that it has, also where its table was renamed or moved to
 * another schema since, or the one that it will get, in the table's schema.
 */
static char *
statistics_name(ZdmMirrorRule *rule)
{
	bool		exists = OidIsValid(rule->second);
	List	   *names = NIL;

	if (exists)
		names = statistics_of(rule->second, "pg_catalog.format('%s.%I', s.stxnamespace::pg_catalog.regnamespace, s.stxname)");
	if (names != NIL)
		return linitial(names);

	return quote_qualified_identifier(exists ? get_namespace_name(get_rel_namespace(rule->second))
									  : rule->new_schema,
									  makeObjectName("~zdm", exists ? get_rel_name(rule->second)
													 : rule->new_table, "load"));
}

static List *
each_trigger(ZdmMigration *migration, bool create)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		steps = list_concat(steps, table_triggers(migration, rule->first, false, create));
		steps = list_concat(steps, OidIsValid(rule->second)
							? table_triggers(migration, rule->second, true, create)
							: new_table_triggers(rule, create));
	}
	return steps;
}

static List *
table_triggers(ZdmMigration *migration, Oid relid, bool second, bool create)
{
	List	   *steps = NIL;
	ListCell   *lc;

	for (size_t i = 0; i < lengthof(triggers); i++)
	{
		if ((triggers[i].second_only && !second) ||
			others_need(migration, relid, triggers[i].second_only))
			continue;
		foreach(lc, find_all_inheritors(relid, NoLock, NULL))
		{
			Oid			part = lfirst_oid(lc);

			if (triggers[i].inherited && part != relid)
				continue;
			/* Nothing is there yet of what is only explained. */
			if (!create && migration->id != 0 &&
				!OidIsValid(get_trigger_oid(part, triggers[i].name, true)))
				continue;
			steps = lappend(steps, trigger_step(part, zdm_quote_relation(part), i, create));
		}
	}
	return steps;
}

/*
 * Those of a second table that expand is still to make, and that is no
 * partitioned one.
 */
static List *
new_table_triggers(ZdmMirrorRule *rule, bool create)
{
	List	   *steps = NIL;

	for (size_t i = 0; i < lengthof(triggers); i++)
		steps = lappend(steps, trigger_step(InvalidOid, zdm_mirror_second_name(rule), i, create));
	return steps;
}

static ZdmStep *
trigger_step(Oid relid, const char *table, size_t number, bool create)
{
	const char *name = quote_identifier(triggers[number].name);

	if (!create)
		return zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock,
						   psprintf("drop trigger %s", name),
						   psprintf("DROP TRIGGER %s ON %s", name, table));
	return zdm_step_on(relid, ZDM_STEP_DDL, ShareRowExclusiveLock, triggers[number].description,
					   psprintf("CREATE TRIGGER %s %s ON %s FOR EACH %s EXECUTE FUNCTION zdm._mirror()",
								name, triggers[number].events, table, triggers[number].level));
}

/*
 * A table of a migration's rules, or a partition of one, whose trigger is
 * disabled, or InvalidOid.
 */
Oid
zdm_mirror_trigger_disabled(ZdmMigration *migration)
{
	ListCell   *lc,
			   *part;

	foreach(lc, zdm_mirror_tables(migration->mirrors))
	{
		foreach(part, find_all_inheritors(lfirst_oid(lc), NoLock, NULL))
		{
			Relation	rel = table_open(lfirst_oid(part), AccessShareLock);
			TriggerDesc *desc = rel->trigdesc;
			bool		disabled = false;

			for (int i = 0; desc != NULL && i < desc->numtriggers; i++)
				disabled |= strcmp(desc->triggers[i].tgname, ZDM_MIRROR_TRIGGER) == 0 &&
					desc->triggers[i].tgenabled != TRIGGER_FIRES_ON_ORIGIN &&
					desc->triggers[i].tgenabled != TRIGGER_FIRES_ALWAYS;
			table_close(rel, AccessShareLock);
			if (disabled)
				return lfirst_oid(part);
		}
	}
	return InvalidOid;
}

/*
 * The statements (char *) that give partitions which have come since the
 * triggers that they do not inherit.
 */
List *
zdm_mirror_partition_texts(ZdmMigration *migration)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *part;

	foreach(lc, zdm_mirror_tables(migration->mirrors))
	{
		foreach(part, find_all_inheritors(lfirst_oid(lc), NoLock, NULL))
		{
			for (size_t i = 0; i < lengthof(triggers); i++)
			{
				if (!triggers[i].inherited &&
					OidIsValid(get_trigger_oid(lfirst_oid(lc), triggers[i].name, true)) &&
					!OidIsValid(get_trigger_oid(lfirst_oid(part), triggers[i].name, true)))
					result = lappend(result, trigger_step(lfirst_oid(part), zdm_quote_relation(lfirst_oid(part)),
														  i, true)->sql);
			}
		}
	}
	return result;
}

/*
 * A trigger that a migration needs and that a table, or a partition of it,
 * has not; NULL where all are there.
 */
const char *
zdm_mirror_trigger_missing(ZdmMigration *migration, Oid *relid)
{
	ListCell   *lc,
			   *part;

	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		for (size_t i = 0; i < 2 * lengthof(triggers); i++)
		{
			bool		second = i >= lengthof(triggers);
			const char *name = triggers[i % lengthof(triggers)].name;

			if (triggers[i % lengthof(triggers)].second_only && !second)
				continue;
			foreach(part, find_all_inheritors(second ? rule->second : rule->first, NoLock, NULL))
			{
				*relid = lfirst_oid(part);
				if (!OidIsValid(get_trigger_oid(*relid, name, true)))
					return name;
			}
		}
	}
	return NULL;
}

/*
 * Whether another migration needs a table's triggers.
 */
static bool
others_need(ZdmMigration *migration, Oid relid, bool second)
{
	ListCell   *lc;

	foreach(lc, zdm_mirror_rules_on(list_make1_oid(relid)))
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (rule->migration != migration->id && (!second || rule->second == relid))
			return true;
	}
	return false;
}

/*
 * A second table that the migration has made keeps the owner of the first, or
 * neither could be written as the other's.
 */
List *
zdm_mirror_owner_steps(const ZdmMirrorRule *rule)
{
	Oid			owner = zdm_table_owner(rule->first);

	if (zdm_table_owner(rule->second) == owner)
		return NIL;
	return list_make1(zdm_step_on(rule->second, ZDM_STEP_DDL, AccessExclusiveLock,
								  "it belongs to the owner of the first table",
								  psprintf("ALTER TABLE %s OWNER TO %s", zdm_quote_relation(rule->second),
										   quote_identifier(GetUserNameFromId(owner, false)))));
}
