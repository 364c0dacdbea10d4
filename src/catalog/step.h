/*-------------------------------------------------------------------------
 *
 * step.h
 *	  Steps of a migration, and their rows in zdm.step.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_STEP_H
#define ZDM_CATALOG_STEP_H

#include "catalog/migration.h"
#include "storage/lockdefs.h"

typedef enum ZdmPhase
{
	ZDM_EXPAND,
	ZDM_MIGRATE,
	ZDM_CONTRACT,
	ZDM_FINISH,
	ZDM_ROLLBACK
} ZdmPhase;

typedef enum ZdmStepKind
{
	ZDM_STEP_DDL,				/* run the SQL */
	ZDM_STEP_ADD_VIEW,			/* the same: it makes a compatibility view */
	ZDM_STEP_DROP_VIEW,			/* the same: it drops the migration's view */
	ZDM_STEP_ADD_RULES,			/* install sync rules of the migration */
	ZDM_STEP_DROP_RULES,		/* remove them */
	ZDM_STEP_SET_RULES,			/* store these in their place */
	ZDM_STEP_CATALOG,			/* make a change that no SQL makes */
	ZDM_STEP_KEEP,				/* keep something with the migration */
	ZDM_STEP_BACKFILL,
	ZDM_STEP_INDEX,				/* build the second columns' indexes */
	ZDM_STEP_VERIFY
} ZdmStepKind;

/*
 * What a pattern says is to be done.  The SQL of a step that is not DDL is
 * there for people: what the step is equivalent to.
 */
typedef struct ZdmStep
{
	ZdmStepKind kind;
	char	   *description;
	char	   *sql;
	Oid			relation;		/* InvalidOid: the migration's table */
	LOCKMODE	lock;			/* on that */
	Oid			role;			/* whose rights the SQL is run with;
								 * InvalidOid: the caller's */
	List	   *with;			/* further tables (oids), locked alike */
	List	   *with_read;		/* others (oids), which it reads by ROW SHARE */

	/* ZDM_STEP_ADD_RULES, ZDM_STEP_SET_RULES: of ZdmSyncRule *. */
	List	   *rules;			/* NIL, to be added: the migration's */

	/*
	 * ZDM_STEP_CATALOG: makes the change, as the caller.  ZDM_STEP_DDL of the
	 * migrate phase: makes a change after the SQL, in the same transaction.
	 */
	void		(*change) (struct ZdmStep *step);
	char	   *from;			/* what it is given */
	char	   *to;

	/* ZDM_STEP_KEEP: what to keep, under the name from. */
	char	   *(*value) (struct ZdmStep *step);

	/* ZDM_STEP_ADD_VIEW, and changes of a view */
	char	   *view_schema;
	char	   *view_name;

	/*
	 * Where the steps before this one decide about its SQL: what it is once
	 * they have been run.  sql is then what it would be by now.
	 */
	char	   *(*sql_now) (ZdmMigration *migration);
} ZdmStep;

extern ZdmStep *zdm_step(ZdmStepKind kind, LOCKMODE lock,
						 const char *description, char *sql);
extern ZdmStep *zdm_step_on(Oid relation, ZdmStepKind kind, LOCKMODE lock,
							const char *description, char *sql);
extern List *zdm_step_texts(List *steps);
extern const char *zdm_phase_name(ZdmPhase phase);

extern int	zdm_step_record(ZdmMigration *migration, ZdmPhase phase,
							ZdmStep *step);
extern void zdm_step_started(ZdmMigration *migration, int number,
							 int64 lock_wait_ms);
extern void zdm_step_ended(ZdmMigration *migration, int number,
						   const char *error);
extern void zdm_steps_ended(ZdmMigration *migration, ZdmPhase phase);
extern int	zdm_step_number(ZdmMigration *migration, ZdmPhase phase,
							const char *description);

#endif							/* ZDM_CATALOG_STEP_H */
