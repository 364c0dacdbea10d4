/*-------------------------------------------------------------------------
 *
 * direct_view.h
 *	  The compatibility views whose queries can go straight to the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_HOOKS_DIRECT_VIEW_H
#define ZDM_HOOKS_DIRECT_VIEW_H

#include "access/attnum.h"

/* A view that a query has named, as it was found last. */
typedef struct ZdmDirectView
{
	Oid			view;			/* the key */
	int			state;			/* direct_view.c's */
	bool		direct;			/* if not, it is left to the server */
	Oid			table;
	Oid			check_as;		/* whose rights it uses, or InvalidOid */
	int			natts;
	AttrNumber *attnums;		/* the table's for each of the view's */
	bool		same_numbers;	/* all of them are the same */
} ZdmDirectView;

extern void zdm_direct_views_init(void);
extern bool zdm_direct_views_exist(void);
extern const ZdmDirectView *zdm_direct_view(Oid view);
extern bool zdm_direct_view_is_current(const ZdmDirectView *known);

#endif							/* ZDM_HOOKS_DIRECT_VIEW_H */
