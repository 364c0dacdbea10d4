/*-------------------------------------------------------------------------
 *
 * explain.h
 *	  Dry run: what a call would do.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_LIFECYCLE_EXPLAIN_H
#define ZDM_LIFECYCLE_EXPLAIN_H

#include "funcapi.h"
#include "patterns/pattern.h"

extern void zdm_explain_call(const char *call, ReturnSetInfo *result);

/* For the life cycle: whether this is a dry run, and what it would do. */
extern bool zdm_explaining(void);
extern void zdm_explain_migration(const ZdmPattern *pattern,
								  ZdmMigration *migration);
extern void zdm_explain_note(const char *text);
extern void zdm_explain_steps(ZdmMigration *migration, ZdmPhase phase,
							  List *steps);

#endif							/* ZDM_LIFECYCLE_EXPLAIN_H */
