/*-------------------------------------------------------------------------
 *
 * common_value.h
 *	  A value that many rows of a column are to have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_COMMON_VALUE_H
#define ZDM_SCHEMA_COMMON_VALUE_H

#include "nodes/nodes.h"
#include "utils/rel.h"

extern void zdm_check_common_value(Relation rel, Form_pg_attribute attr,
								   Node *value, const char *what,
								   bool mandatory);

#endif							/* ZDM_SCHEMA_COMMON_VALUE_H */
