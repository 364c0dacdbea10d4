/*-------------------------------------------------------------------------
 *
 * key_change.h
 *	  A second foreign key that does what the first one does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_KEY_CHANGE_H
#define ZDM_SCHEMA_KEY_CHANGE_H

#include "catalog/step.h"

extern bool zdm_key_is_quiet(Oid constraint);
extern bool zdm_key_differs(Oid constraint);
extern ZdmStep *zdm_key_exchange_step(Oid relid, const char *source, const char *twin);
extern bool zdm_key_disagrees(Oid source, Oid twin);
extern ZdmStep *zdm_key_quiet_step(Oid relid, const char *source, const char *twin);
extern void zdm_key_follow(ZdmStep *step);
extern void zdm_key_validated(ZdmStep *step);

#endif							/* ZDM_SCHEMA_KEY_CHANGE_H */
