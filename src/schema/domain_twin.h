/*-------------------------------------------------------------------------
 *
 * domain_twin.h
 *	  A new column that is to be of a domain with constraints.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_DOMAIN_TWIN_H
#define ZDM_SCHEMA_DOMAIN_TWIN_H

#include "schema/retype.h"

extern void zdm_type_meanwhile(const ZdmType *type, ZdmType *meanwhile);
extern void zdm_domain_check_rights(const char *column, const ZdmType *type);
extern char *zdm_domain_value(char *expression, const ZdmType *type);
extern bool zdm_domain_is_due(Oid relid, const char *column, const ZdmType *type);
extern bool zdm_domains_are_due(List *pairs);
extern List *zdm_domain_demand_steps(Oid relid, const char *column,
									 const ZdmType *type);
extern List *zdm_domain_proof_steps(Oid relid, const char *column,
									const ZdmType *type, bool left);
extern List *zdm_domain_set_steps(Oid relid, const char *column,
								  const ZdmType *type);
extern bool zdm_domain_is_proof(const char *constraint);

#endif							/* ZDM_SCHEMA_DOMAIN_TWIN_H */
