/*-------------------------------------------------------------------------
 *
 * catalog_change.h
 *	  Changes of the server's catalog that no statement makes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_CATALOG_CHANGE_H
#define ZDM_SCHEMA_CATALOG_CHANGE_H

#include "catalog/step.h"
#include "util/ident.h"

extern ZdmStep *zdm_identity_step(Oid relid, const char *from, const char *to);
extern ZdmStep *zdm_acl_step(Oid relid, ZdmPlace view, const char *column,
							 const char *acl);
extern bool zdm_acl_differs(Oid relid, const char *column, const char *other);
extern ZdmStep *zdm_acl_copy_step(Oid relid, const char *from, const char *to);
extern void zdm_acl_copy(Oid relid, const char *from, const char *to);
extern ZdmStep *zdm_recompile_step(Oid relid, const char *column);

#endif							/* ZDM_SCHEMA_CATALOG_CHANGE_H */
