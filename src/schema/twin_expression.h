/*-------------------------------------------------------------------------
 *
 * twin_expression.h
 *	  An expression over a column, with the twin in the column's place.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_EXPRESSION_H
#define ZDM_SCHEMA_TWIN_EXPRESSION_H

#include "access/tupdesc.h"
#include "nodes/nodes.h"

extern Node *zdm_twin_expression(Node *expr, TupleDesc desc,
								 AttrNumber column, AttrNumber twin);

#endif							/* ZDM_SCHEMA_TWIN_EXPRESSION_H */
