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
	List	   *rules;			/* of ZdmSyncRule * */
	ZdmState	state;
	TimestampTz quarantine_until;	/* 0 where there is none */
} ZdmMigration;

#define zdm_state_in_flight(state) \
	((state) == ZDM_EXPANDED || (state) == ZDM_READY || (state) == ZDM_CONTRACTED)

extern const char *zdm_state_name(ZdmState state);
extern void zdm_migration_insert(ZdmMigration *migration);
extern ZdmMigration *zdm_migration_find(const char *name);
extern ZdmMigration *zdm_migration_last(const char *name);
extern void zdm_migration_scan(int64 id, char **name, ZdmState *state);
extern ZdmState zdm_migration_state(int64 id);
extern void zdm_migration_set_state(ZdmMigration *migration, ZdmState state);
extern void zdm_migration_set_quarantine(ZdmMigration *migration,
										 TimestampTz until);
extern void zdm_migration_set_error(int64 id, const char *error);
extern bool zdm_migration_set_waiting(int64 id, const char *waiting_for);
extern List *zdm_migrations_on(Oid relid);
extern List *zdm_migrations_in_flight(void);

#endif							/* ZDM_CATALOG_MIGRATION_H */
