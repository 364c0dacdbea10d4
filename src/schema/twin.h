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

#include "schema/retype.h"

extern char *zdm_collation_clause(Oid collation);
extern bool zdm_default_is_volatile(Oid relid, const char *column);
extern char *zdm_twin_name(const char *column);
extern bool zdm_domain_is_constrained(Oid domain);
extern char *zdm_twin_type(Relation rel, const char *column);
extern void zdm_twin_check(Relation rel, const char *column);
extern List *zdm_twin_add_steps(Relation rel, const char *column,
								const char *twin);
extern List *zdm_twin_default_follow_steps(Oid relid, const char *column,
										   const char *twin);
extern List *zdm_twin_add_typed_steps(Relation rel, const char *column,
									  const char *twin, const ZdmType *type);
extern bool zdm_twin_fits(Relation rel, const char *column, const char *twin);
extern List *zdm_twin_attachments(int64 migration, Oid relid,
								  const char *column, const char *twin);

#endif							/* ZDM_SCHEMA_TWIN_H */
