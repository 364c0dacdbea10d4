/*-------------------------------------------------------------------------
 *
 * install.c
 *	  The steps that put sync rules on tables and take them off.
 *
 * One trigger serves all rules of a table: it comes with the first and goes
 * with the last.  It is ENABLE ALWAYS, so that the rows a subscription or a
 * loader writes are kept in sync, too; the rules only ever write the row
 * itself, so nothing is written twice.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "catalog/step.h"
#include "catalog/sync_rule.h"
#include "sync/install.h"
#include "sync/row_sync.h"
#include "util/ident.h"

static bool other_rules_exist(ZdmMigration *migration, Oid relid);

List *
zdm_sync_install_steps(ZdmMigration *migration)
{
	const char *trigger = quote_identifier(ZDM_SYNC_TRIGGER);
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_rules_tables(migration->rules))
	{
		char	   *table = zdm_quote_relation(lfirst_oid(lc));

		if (other_rules_exist(migration, lfirst_oid(lc)))
			continue;
		steps = lappend(steps,
						zdm_step_on(lfirst_oid(lc), ZDM_STEP_DDL, ShareRowExclusiveLock,
									"create the sync trigger",
									psprintf("CREATE TRIGGER %s BEFORE INSERT OR UPDATE ON %s FOR EACH ROW EXECUTE FUNCTION zdm._sync_row()",
											 trigger, table)));
		steps = lappend(steps,
						zdm_step_on(lfirst_oid(lc), ZDM_STEP_DDL, ShareRowExclusiveLock,
									"let it fire for replicated rows, too",
									psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER %s",
											 table, trigger)));
	}
	return lappend(steps, zdm_step(ZDM_STEP_ADD_RULES, NoLock,
								   "install the sync rule", NULL));
}

List *
zdm_sync_remove_steps(ZdmMigration *migration)
{
	List	   *steps = list_make1(zdm_step(ZDM_STEP_DROP_RULES, NoLock,
											"remove the sync rule", NULL));
	ListCell   *lc;

	foreach(lc, zdm_rules_tables(migration->rules))
	{
		if (!other_rules_exist(migration, lfirst_oid(lc)))
			steps = lappend(steps,
							zdm_step_on(lfirst_oid(lc), ZDM_STEP_DDL, AccessExclusiveLock,
										"drop the sync trigger",
										psprintf("DROP TRIGGER %s ON %s",
												 quote_identifier(ZDM_SYNC_TRIGGER),
												 zdm_quote_relation(lfirst_oid(lc)))));
	}
	return steps;
}

static bool
other_rules_exist(ZdmMigration *migration, Oid relid)
{
	ListCell   *lc;

	foreach(lc, zdm_sync_rules_on(list_make1_oid(relid)))
	{
		if (((ZdmSyncRule *) lfirst(lc))->migration != migration->id)
			return true;
	}
	return false;
}
