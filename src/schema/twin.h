/*-------------------------------------------------------------------------
 *
 * twin.h
 *	  A second column that mirrors a first one.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_H
#define ZDM_SCHEMA_TWIN_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

extern char *zdm_twin_type(Relation rel, const char *column);
extern void zdm_twin_check(Relation rel, const char *column);
extern List *zdm_twin_add_steps(Relation rel, const char *column,
								const char *twin);
extern bool zdm_twin_fits(Relation rel, const char *column, const char *twin);
extern List *zdm_twin_attachments(int64 migration, Oid relid,
								  const char *column, const char *twin);

#endif							/* ZDM_SCHEMA_TWIN_H */
