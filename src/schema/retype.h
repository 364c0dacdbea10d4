/*-------------------------------------------------------------------------
 *
 * retype.h
 *	  Another type for a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_RETYPE_H
#define ZDM_SCHEMA_RETYPE_H

#include "access/tupdesc.h"
#include "nodes/primnodes.h"
#include "utils/rel.h"

/* What a column is to become. */
typedef struct ZdmType
{
	Oid			oid;
	int32		typmod;
	Oid			collation;
} ZdmType;

extern void zdm_type_parse(const char *text, ZdmType *type);
extern char *zdm_type_text(const ZdmType *type);
extern void zdm_type_check_kind(const ZdmType *type);
extern void zdm_type_check(const ZdmType *type);
extern void zdm_type_keep_collation(Relation rel, const char *column,
									ZdmType *type);
extern bool zdm_type_is(Relation rel, const char *column, const ZdmType *type);
extern bool zdm_type_changes_in_place(Relation rel, const char *column,
									  const ZdmType *type);
extern bool zdm_type_is_exact(const ZdmType *from, const ZdmType *to);
extern char *zdm_type_conversion(const char *column, const ZdmType *from,
								 const ZdmType *to, const char *argument);
extern void zdm_type_of(Oid relid, const char *column, ZdmType *type);

extern TupleDesc zdm_description_with(TupleDesc desc, const char *name,
									  const ZdmType *type);
extern void zdm_description_swap(TupleDesc desc, const char *a, const char *b);
extern AttrNumber zdm_description_number(TupleDesc desc, const char *name);

#endif							/* ZDM_SCHEMA_RETYPE_H */
