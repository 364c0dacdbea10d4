/*-------------------------------------------------------------------------
 *
 * twin_key.c
 *	  Foreign keys of a column whose type changes.
 *
 * Which keys refer to it, and whether both sides of a key can still be compared
 * when one of them, or both, have another type.  The server asks the latter when
 * it adds the twins' key, which is long after expand.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "schema/depend.h"
#include "schema/twin_key.h"
#include "util/ident.h"
#include "util/spi.h"

static bool key_has_operators(Oid constraint, List *pairs, const ZdmType *type);
static bool sides_compare(Oid referenced, Oid referring, Oid opclass);
static Oid	later_type(Oid relid, AttrNumber attnum, List *pairs,
					   const ZdmType *type);
static Oid	later_opclass(Oid index, AttrNumber attnum, Oid now, Oid later);

/*
 * Lines (char *) about the foreign keys that refer to the column.
 */
List *
zdm_referring_keys(Oid relid, const char *column)
{
	return zdm_query_strings("SELECT pg_catalog.format('foreign key %s of table %s', c.conname, c.conrelid::pg_catalog.regclass)"
							 " FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_attribute a"
							 " ON a.attrelid = c.confrelid AND a.attnum = ANY (c.confkey)"
							 " WHERE c.contype = 'f' AND c.conparentid = 0 AND c.confrelid = $1 AND a.attname = $2 ORDER BY 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)), zdm_arg_name(column)));
}

/*
 * Add lines about foreign keys whose columns could not be compared any more.
 */
List *
zdm_key_operator_limits(List *pairs, const ZdmType *type, List *result)
{
	static const char *const sql =
		"SELECT c.oid::pg_catalog.int8 || '' FROM pg_catalog.pg_constraint c"
		" WHERE c.contype = 'f' AND c.conparentid = 0"
		" AND EXISTS (SELECT FROM " ZDM_PAIRS_SQL " JOIN pg_catalog.pg_attribute a"
		" ON a.attrelid = p.rel AND a.attname = p.col"
		" WHERE (c.conrelid = p.rel AND a.attnum = ANY (c.conkey))"
		" OR (c.confrelid = p.rel AND a.attnum = ANY (c.confkey))) ORDER BY c.conrelid, c.conname";
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(pairs))))
	{
		Oid			constraint = (Oid) strtoul(lfirst(lc), NULL, 10);

		if (!key_has_operators(constraint, pairs, type))
			result = list_concat(result,
								 zdm_query_strings("SELECT pg_catalog.format('foreign key %s of table %s: there is no operator that compares its columns with type %s',"
												   " c.conname, c.conrelid::pg_catalog.regclass, $2) FROM pg_catalog.pg_constraint c WHERE c.oid = $1",
												   ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(constraint)),
															zdm_arg_text(zdm_type_text(type)))));
	}
	return result;
}

static bool
key_has_operators(Oid constraint, List *pairs, const ZdmType *type)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	FormData_pg_constraint form;
	AttrNumber	referring[INDEX_MAX_KEYS],
				referenced[INDEX_MAX_KEYS];
	Oid			unused[3][INDEX_MAX_KEYS];
	AttrNumber	unused_columns[INDEX_MAX_KEYS];
	int			count,
				unused_count;

	if (!HeapTupleIsValid(tuple))
		return true;
	memcpy(&form, GETSTRUCT(tuple), sizeof(form));
	DeconstructFkConstraintRow(tuple, &count, referring, referenced, unused[0], unused[1],
							   unused[2], &unused_count, unused_columns);
	ReleaseSysCache(tuple);
	for (int i = 0; i < count; i++)
	{
		Oid			now = get_atttype(form.confrelid, referenced[i]);
		Oid			from = later_type(form.conrelid, referring[i], pairs, type);
		Oid			to = later_type(form.confrelid, referenced[i], pairs, type);

		/* What the key is made of now, it can be made of again. */
		if (to == now && from == get_atttype(form.conrelid, referring[i]))
			continue;
		if (!sides_compare(to, from, later_opclass(form.conindid, referenced[i], now, to)))
			return false;
	}
	return true;
}

/*
 * As the server asks: an operator for both types in the index's family, or a
 * coercion of both to what the index is over.
 */
static bool
sides_compare(Oid referenced, Oid referring, Oid opclass)
{
	Oid			family,
				input;
	Oid			sides[2] = {referenced, referring};
	Oid			inputs[2];

	/* No index, which is said of the index. */
	if (!OidIsValid(opclass))
		return true;
	family = get_opclass_family(opclass);
	input = get_opclass_input_type(opclass);
	if (OidIsValid(get_opfamily_member(family, input, getBaseType(referring), BTEqualStrategyNumber)))
		return true;
	inputs[0] = inputs[1] = input;
	return can_coerce_type(2, sides, inputs, COERCION_IMPLICIT);
}

/* The type that a column has after the change. */
static Oid
later_type(Oid relid, AttrNumber attnum, List *pairs, const ZdmType *type)
{
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->relation == relid && get_attnum(relid, pair->from) == attnum)
			return type->oid;
	}
	return get_atttype(relid, attnum);
}

/*
 * The operator class that a unique index has for a column after the change:
 * the default one of the new type where it has the default one now.
 */
static Oid
later_opclass(Oid index, AttrNumber attnum, Oid now, Oid later)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	Oid			result = InvalidOid;
	Form_pg_index form;
	oidvector  *classes;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	form = (Form_pg_index) GETSTRUCT(tuple);
	classes = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, tuple,
															Anum_pg_index_indclass, &isnull));
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		if (form->indkey.values[i] == attnum)
			result = classes->values[i];
	}
	ReleaseSysCache(tuple);
	if (now != later && result == GetDefaultOpClass(now, BTREE_AM_OID))
		return GetDefaultOpClass(later, BTREE_AM_OID);
	return result;
}
