/*-------------------------------------------------------------------------
 *
 * domain_change.h
 *	  A column of a base type becomes one of a domain over it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_DOMAIN_CHANGE_H
#define ZDM_SCHEMA_DOMAIN_CHANGE_H

#include "catalog/step.h"
#include "schema/retype.h"

extern ZdmStep *zdm_domain_step(Oid relid, const char *column, const ZdmType *type);
extern Node *zdm_expression_over(TupleDesc was, TupleDesc is, const char *text);

#endif							/* ZDM_SCHEMA_DOMAIN_CHANGE_H */
