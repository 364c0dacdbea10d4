/*-------------------------------------------------------------------------
 *
 * migration.h
 *	  Rows of zdm.migration.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_MIGRATION_H
#define ZDM_CATALOG_MIGRATION_H

#include "datatype/timestamp.h"
#include "nodes/pg_list.h"

typedef enum ZdmState
{
	ZDM_EXPANDED,
	ZDM_READY,
	ZDM_CONTRACTED,
	ZDM_FINISHED,
	ZDM_ROLLED_BACK
} ZdmState;

/*
 * An argument of the call that is a pattern's own; no value where it is NULL.
 * One whose name begins with _ was not given, but found on the way.
 */
typedef struct ZdmArgument
{
	char	   *name;
	char	   *value;
} ZdmArgument;

/*
 * A migration as the patterns see it: its typed spec and where it stands.
 * Everything a step does is generated from this, never from recorded SQL.
 */
typedef struct ZdmMigration
{
	int64		id;				/* 0 as long as it is not stored */
	char	   *name;
	char	   *pattern;
	char	   *strategy;
	Oid			relation;
	List	   *old_columns;	/* of char * */
	List	   *new_columns;
	List	   *others;			/* oids of further tables that it works on */
	List	   *arguments;		/* of ZdmArgument *: what else the call said */
	List	   *rules;			/* of ZdmSyncRule * */
	List	   *mirrors;		/* of ZdmMirrorRule * */
	ZdmState	state;
	TimestampTz quarantine_until;	/* 0 where there is none; a contract with
									 * one has it before its checks */
	int			workers;		/* in the background; 0: not asked for */
	bool		paused;
	bool		failed;			/* it has a last error */
	char	   *throttle;		/* a query that says when to wait, or NULL */
	Oid			throttle_role;	/* who gave it ... */
	char	   *throttle_name;	/* ... under this name */
	bool		fire_user_triggers;
	bool		build_indexes;	/* of second columns */
	bool		trigger_off;	/* on one of its tables, when last seen */
} ZdmMigration;

/* What zdm.start() says. */
typedef struct ZdmOrder
{
	int			workers;
	char	   *throttle;		/* NULL: as before */
	Oid			throttle_role;
	bool		fire_user_triggers;
} ZdmOrder;

#define zdm_state_in_flight(state) \
	((state) == ZDM_EXPANDED || (state) == ZDM_READY || (state) == ZDM_CONTRACTED)

extern const char *zdm_state_name(ZdmState state);
extern void zdm_set_argument(ZdmMigration *migration, const char *name,
							 const char *value);
extern const char *zdm_argument(const ZdmMigration *migration, const char *name);
extern bool zdm_rolling_back(const ZdmMigration *migration);
extern void zdm_migration_set_rolling_back(ZdmMigration *migration);
extern void zdm_migration_keep_argument(ZdmMigration *migration, const char *name,
										const char *value);
extern bool zdm_same_arguments(const ZdmMigration *a, const ZdmMigration *b);
extern List *zdm_arguments_read(uint64 row, int names, int values);
extern void zdm_migration_insert(ZdmMigration *migration);
extern ZdmMigration *zdm_migration_find(const char *name);
extern ZdmMigration *zdm_migration_last(const char *name);
extern void zdm_migration_scan(int64 id, char **name, ZdmState *state);
extern bool zdm_migration_refresh(ZdmMigration *migration);
extern void zdm_migration_set_state(ZdmMigration *migration, ZdmState state);
extern void zdm_migration_set_others(ZdmMigration *migration, List *others);
extern void zdm_migration_set_quarantine(ZdmMigration *migration,
										 TimestampTz until);
extern void zdm_migration_set_error(int64 id, const char *error);
extern bool zdm_migration_set_waiting(int64 id, const char *waiting_for);
extern char *zdm_migration_error(int64 id);
extern void zdm_migration_order(ZdmMigration *migration, ZdmOrder *order);
extern void zdm_migration_set_paused(ZdmMigration *migration, bool paused);
extern void zdm_migration_set_trigger_off(ZdmMigration *migration, bool off);
extern void zdm_migration_sample(int64 id);
extern char *zdm_migration_progress(const char *name);
extern ZdmMigration *zdm_migration_by_id(int64 id);
extern List *zdm_migrations_on(Oid relid);
extern List *zdm_migrations_queued(void);
extern List *zdm_migrations_in_flight(void);

#endif							/* ZDM_CATALOG_MIGRATION_H */
