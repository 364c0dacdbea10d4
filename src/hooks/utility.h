/*-------------------------------------------------------------------------
 *
 * utility.h
 *	  COPY, TRUNCATE, ANALYZE and VACUUM by the name of a compatibility view.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_HOOKS_UTILITY_H
#define ZDM_HOOKS_UTILITY_H

extern void zdm_utility_init(void);
extern bool zdm_utility_preloaded(void);

#endif							/* ZDM_HOOKS_UTILITY_H */
