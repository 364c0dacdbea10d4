/*-------------------------------------------------------------------------
 *
 * query.h
 *	  Queries by the name of a compatibility view, sent straight to the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_HOOKS_QUERY_H
#define ZDM_HOOKS_QUERY_H

extern void zdm_query_init(void);
extern bool zdm_query_storing(bool storing);

#endif							/* ZDM_HOOKS_QUERY_H */
