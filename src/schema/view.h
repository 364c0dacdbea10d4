/*-------------------------------------------------------------------------
 *
 * view.h
 *	  Compatibility views: a table under a second name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_VIEW_H
#define ZDM_SCHEMA_VIEW_H

#include "nodes/pg_list.h"
#include "util/ident.h"
#include "utils/rel.h"

/* A view that is there, or is to be made; and where its table is by then. */
typedef struct ZdmView
{
	Oid			oid;			/* InvalidOid where it is still to be made */
	ZdmPlace	place;
	ZdmPlace	table;
	const char *column;			/* one that has two names, or NULL */
	const char *twin;			/* the second one */
} ZdmView;

extern void zdm_view_check(Relation rel);
extern void zdm_view_check_place(Oid relid, ZdmPlace place);
extern List *zdm_view_add_steps(Relation rel, const ZdmView *view);
extern List *zdm_view_drop_steps(const ZdmView *view);
extern List *zdm_view_mend_steps(Relation rel, const ZdmView *view);
extern char *zdm_view_broken(Relation rel, const ZdmView *view);
extern List *zdm_view_dependents(Oid view);
extern Oid	zdm_viewed_table(Oid relid);

#endif							/* ZDM_SCHEMA_VIEW_H */
