/*-------------------------------------------------------------------------
 *
 * referrer.h
 *	  The foreign keys that refer to a table, for one of another heap.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_REFERRER_H
#define ZDM_SCHEMA_REFERRER_H

#include "schema/clone.h"
#include "utils/rel.h"

extern List *zdm_referring_tables(Oid relid);
extern List *zdm_referred_tables(Oid relid);
extern void zdm_check_referrers(Relation source, const ZdmClone *clone);
extern List *zdm_referrer_add_steps(Oid source, Oid made, const char *name);
extern List *zdm_referrer_validate_steps(Oid source, Oid made);
extern List *zdm_referrer_switch_steps(Oid from, Oid to, bool keep);
extern List *zdm_referrer_drop_steps(Oid relid, Oid other);
extern List *zdm_referrer_descriptions(Oid relid, Oid other);

#endif							/* ZDM_SCHEMA_REFERRER_H */
