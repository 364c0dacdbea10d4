/*-------------------------------------------------------------------------
 *
 * step.c
 *	  Steps of a migration, and their rows in zdm.step.
 *
 * The rows are a record of what was done and when.  Nothing reads the SQL in
 * them back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "utils/builtins.h"

#include "catalog/step.h"
#include "util/spi.h"

static const char *const phase_names[] = {
	[ZDM_EXPAND] = "expand",
	[ZDM_MIGRATE] = "migrate",
	[ZDM_CONTRACT] = "contract",
	[ZDM_FINISH] = "finish",
	[ZDM_ROLLBACK] = "rollback",
};

/*
 * Their SQL (char *).
 */
List *
zdm_step_texts(List *steps)
{
	List	   *texts = NIL;
	ListCell   *lc;

	foreach(lc, steps)
		texts = lappend(texts, ((ZdmStep *) lfirst(lc))->sql);
	return texts;
}

const char *
zdm_phase_name(ZdmPhase phase)
{
	return phase_names[phase];
}

ZdmStep *
zdm_step(ZdmStepKind kind, LOCKMODE lock, const char *description, char *sql)
{
	ZdmStep    *step = palloc0_object(ZdmStep);

	step->kind = kind;
	step->lock = lock;
	step->description = pstrdup(description);
	step->sql = sql;
	return step;
}

/*
 * The same for a table that need not be the migration's own.
 */
ZdmStep *
zdm_step_on(Oid relation, ZdmStepKind kind, LOCKMODE lock,
			const char *description, char *sql)
{
	ZdmStep    *step = zdm_step(kind, lock, description, sql);

	step->relation = relation;
	return step;
}

/*
 * Record a step that is to be done; returns its number.
 */
int
zdm_step_record(ZdmMigration *migration, ZdmPhase phase, ZdmStep *step)
{
	static SPIPlanPtr plan = NULL;
	ZdmIdentity saved;
	int			number;
	bool		isnull;

	zdm_catalog_begin(&saved);
	zdm_execute_kept(&plan, SPI_OK_INSERT_RETURNING,
					 "INSERT INTO zdm.step (migration_id, step, phase, description, sql, lock_mode, relation)"
					 " SELECT $1, coalesce(pg_catalog.max(s.step), 0) + 1, $2, $3, $4, $5, $6"
					 " FROM zdm.step s WHERE s.migration_id = $1 RETURNING step",
					 ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
							  zdm_arg_name(zdm_phase_name(phase)),
							  zdm_arg_text(step->description),
							  zdm_arg_text(step->sql),
							  zdm_arg_text(step->lock == NoLock ? NULL
										   : GetLockmodeName(DEFAULT_LOCKMETHOD, step->lock)),
							  ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(OidIsValid(step->relation) ? step->relation
																	: migration->relation))));
	number = DatumGetInt32(zdm_result(0, 1, &isnull));
	zdm_catalog_end(&saved);
	return number;
}

/*
 * The number of the recorded step, 0 where there is none.
 */
int
zdm_step_number(ZdmMigration *migration, ZdmPhase phase,
				const char *description)
{
	ZdmIdentity saved;
	int			number = 0;
	bool		isnull;

	zdm_catalog_begin(&saved);
	if (zdm_execute(SPI_OK_SELECT,
					"SELECT step FROM zdm.step WHERE migration_id = $1"
					" AND phase = $2 AND description = $3 ORDER BY step LIMIT 1",
					ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
							 zdm_arg_name(zdm_phase_name(phase)),
							 zdm_arg_text(description))) > 0)
		number = DatumGetInt32(zdm_result(0, 1, &isnull));
	zdm_catalog_end(&saved);
	return number;
}

/*
 * A step that was begun before and did not end keeps the time of its first
 * start.
 */
void
zdm_step_started(ZdmMigration *migration, int number, int64 lock_wait_ms)
{
	static SPIPlanPtr plan = NULL;
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute_kept(&plan, SPI_OK_UPDATE,
					 "UPDATE zdm.step SET state = 'running', error = NULL,"
					 " started_at = coalesce(started_at, pg_catalog.clock_timestamp()),"
					 " lock_wait = CASE WHEN $3 > 0 THEN '1 ms'::pg_catalog.interval * $3 END"
					 " WHERE migration_id = $1 AND step = $2",
					 ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
							  ZDM_ARG(INT4OID, Int32GetDatum(number)),
							  ZDM_ARG(FLOAT8OID, Float8GetDatum((double) lock_wait_ms))));
	zdm_catalog_end(&saved);
}

void
zdm_step_ended(ZdmMigration *migration, int number, const char *error)
{
	static SPIPlanPtr plan = NULL;
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute_kept(&plan, SPI_OK_UPDATE,
					 "UPDATE zdm.step SET state = CASE WHEN $3 IS NULL THEN 'done' ELSE 'failed' END,"
					 " finished_at = pg_catalog.clock_timestamp(), error = $3"
					 " WHERE migration_id = $1 AND step = $2",
					 ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
							  ZDM_ARG(INT4OID, Int32GetDatum(number)),
							  zdm_arg_text(error)));
	zdm_catalog_end(&saved);
}

/*
 * A phase is over, and so are its steps, whoever began them last.
 */
void
zdm_steps_ended(ZdmMigration *migration, ZdmPhase phase)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_UPDATE,
				"UPDATE zdm.step SET state = 'done', error = NULL,"
				" finished_at = coalesce(finished_at, pg_catalog.clock_timestamp())"
				" WHERE migration_id = $1 AND phase = $2 AND state = 'running'",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 zdm_arg_name(zdm_phase_name(phase))));
	zdm_catalog_end(&saved);
}
