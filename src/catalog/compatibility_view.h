/*-------------------------------------------------------------------------
 *
 * compatibility_view.h
 *	  Which views stand for a table, as zdm.migration has it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_COMPATIBILITY_VIEW_H
#define ZDM_CATALOG_COMPATIBILITY_VIEW_H

#include "nodes/parsenodes.h"

extern bool zdm_exists(void);
extern bool zdm_compatibility_views_exist(void);
extern Oid	zdm_table_behind_view(Oid view);
extern Oid	zdm_table_in_query(const Query *query);

#endif							/* ZDM_CATALOG_COMPATIBILITY_VIEW_H */
