/*-------------------------------------------------------------------------
 *
 * mandatory.h
 *	  Whether a column must have a value, and where it gets one from.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_MANDATORY_H
#define ZDM_SCHEMA_MANDATORY_H

#include "nodes/nodes.h"
#include "utils/rel.h"

extern bool zdm_column_is_mandatory(Relation rel, const char *column);
extern bool zdm_column_refuses_null(Relation rel, const char *column);
extern bool zdm_type_accepts_null(Oid type, Oid owner);
extern Oid	zdm_unique_index_on(Relation rel, AttrNumber attnum);
extern bool zdm_same_for_every_row(Node *expr);

#endif							/* ZDM_SCHEMA_MANDATORY_H */
