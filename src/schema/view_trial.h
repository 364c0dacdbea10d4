/*-------------------------------------------------------------------------
 *
 * view_trial.h
 *	  Whether what is over a column still makes sense over another type.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_VIEW_TRIAL_H
#define ZDM_SCHEMA_VIEW_TRIAL_H

#include "schema/retype.h"
#include "schema/twin_constraint.h"

extern List *zdm_view_trial(List *pairs, const ZdmType *type, bool moved,
							List *views, List *rules, const char *kept,
							List *result);
extern char *zdm_expression_trial(List *pairs, const ZdmType *type, Oid relid,
								  const char *expr);

#endif							/* ZDM_SCHEMA_VIEW_TRIAL_H */
