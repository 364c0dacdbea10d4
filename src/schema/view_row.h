/*-------------------------------------------------------------------------
 *
 * view_row.h
 *	  The rows of a compatibility view, as rows of the table.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_VIEW_ROW_H
#define ZDM_SCHEMA_VIEW_ROW_H

#include "schema/view.h"

/* The function behind the cast of the view's row type to the table's. */
#define ZDM_ROW_FUNCTION "~zdm_row"

extern List *zdm_view_row_texts(Relation rel, const ZdmView *view);
extern bool zdm_view_row_missing(const ZdmView *view);
extern List *zdm_view_row_change_texts(Relation rel, const ZdmView *view);
extern List *zdm_view_row_owner_texts(Relation rel, const ZdmView *view, Oid present);
extern char *zdm_view_row_drop_text(const ZdmView *view);

#endif							/* ZDM_SCHEMA_VIEW_ROW_H */
