/*-------------------------------------------------------------------------
 *
 * twin_key.c
 *	  Foreign keys of a column whose type changes.
 *
 * Which keys refer to it, whether both sides of a key can still be compared when
 * one of them, or both, have another type, and the steps that make the twins'
 * keys.  The server asks the second when it adds them, which is long after
 * expand.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/stratnum.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "commands/defrem.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/depend.h"
#include "schema/key_change.h"
#include "schema/relation.h"
#include "schema/twin_index.h"
#include "schema/twin_key.h"
#include "util/ident.h"
#include "util/spi.h"

/* The like of a foreign key. */
typedef struct TwinKey
{
	char	   *source;
	char	   *name;
	Oid			constraint;		/* the source */
	Oid			relation;
	Oid			referenced;
	bool		validated;
	bool		left;			/* only what is still to be done */
	char	   *clause;
} TwinKey;

static bool key_has_operators(Oid constraint, List *pairs, const ZdmType *type);
static bool sides_compare(Oid referenced, Oid referring, Oid opclass);
static Oid	later_type(Oid relid, AttrNumber attnum, List *pairs,
					   const ZdmType *type);
static Oid	later_opclass(Oid index, AttrNumber attnum, Oid now, Oid later);
static List *key_steps(const TwinKey *key, Oid relid);
static void follow(const TwinKey *key, ZdmStep *step);
static List *partitioned_steps(const TwinKey *key);

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

/*
 * The steps that give the twins the foreign keys that a column is in, on
 * either side, each once; with left, those that are still to be done.
 *
 * The server adds one to a partitioned table only with all its rows checked,
 * but takes over what the partitions have already.  So these get theirs first,
 * each as a table of its own has it.
 */
List *
zdm_twin_key_steps(int64 migration, List *pairs, bool left)
{
	static const char *const sql =
		"SELECT pg_catalog.concat_ws(E'\\x01', c.conname, c.oid, c.conrelid::pg_catalog.oid, c.confrelid::pg_catalog.oid, c.convalidated,"
		" pg_catalog.format('FOREIGN KEY (%s) REFERENCES %s (%s)%s%s%s',"
		" (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(coalesce(p.twin, a.attname)), ', ' ORDER BY k.ord)"
		" FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY k(attnum, ord)"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.conrelid AND a.attnum OPERATOR(pg_catalog.=) k.attnum"
		" LEFT JOIN " ZDM_PAIRS_SQL " ON p.rel OPERATOR(pg_catalog.=) c.conrelid AND p.col OPERATOR(pg_catalog.=) a.attname),"
		" c.confrelid::pg_catalog.regclass,"
		" (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(coalesce(p.twin, a.attname)), ', ' ORDER BY k.ord)"
		" FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY k(attnum, ord)"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.confrelid AND a.attnum OPERATOR(pg_catalog.=) k.attnum"
		" LEFT JOIN " ZDM_PAIRS_SQL " ON p.rel OPERATOR(pg_catalog.=) c.confrelid AND p.col OPERATOR(pg_catalog.=) a.attname),"
		" CASE WHEN c.confmatchtype OPERATOR(pg_catalog.=) 'f' THEN ' MATCH FULL' ELSE '' END,"
		" CASE c.confupdtype WHEN 'r' THEN ' ON UPDATE RESTRICT' WHEN 'c' THEN ' ON UPDATE CASCADE'"
		" WHEN 'n' THEN ' ON UPDATE SET NULL' ELSE '' END,"
		" CASE c.confdeltype WHEN 'r' THEN ' ON DELETE RESTRICT' WHEN 'c' THEN ' ON DELETE CASCADE'"
		" WHEN 'n' THEN ' ON DELETE SET NULL' ELSE '' END ||"
		" coalesce((SELECT ' (' || pg_catalog.string_agg(pg_catalog.quote_ident(coalesce(p.twin, a.attname)), ', ' ORDER BY k.ord) || ')'"
		" FROM pg_catalog.unnest(c.confdelsetcols) WITH ORDINALITY k(attnum, ord)"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.conrelid AND a.attnum OPERATOR(pg_catalog.=) k.attnum"
		" LEFT JOIN " ZDM_PAIRS_SQL " ON p.rel OPERATOR(pg_catalog.=) c.conrelid AND p.col OPERATOR(pg_catalog.=) a.attname"
		" WHERE c.confdeltype OPERATOR(pg_catalog.<>) 'd'), '')))"
		" FROM pg_catalog.pg_constraint c"
		" WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND c.conparentid OPERATOR(pg_catalog.=) 0"
		" AND EXISTS (SELECT FROM " ZDM_PAIRS_SQL " JOIN pg_catalog.pg_attribute a"
		" ON a.attrelid OPERATOR(pg_catalog.=) p.rel AND a.attname OPERATOR(pg_catalog.=) p.col"
		" WHERE (c.conrelid OPERATOR(pg_catalog.=) p.rel AND a.attnum OPERATOR(pg_catalog.=) ANY (c.conkey))"
		" OR (c.confrelid OPERATOR(pg_catalog.=) p.rel AND a.attnum OPERATOR(pg_catalog.=) ANY (c.confkey)))"
		" ORDER BY c.conrelid, c.conname";
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(pairs))))
	{
		char	   *parts[6];
		TwinKey		key = {.left = left};

		parts[0] = lfirst(lc);
		for (int i = 1; i < (int) lengthof(parts); i++)
		{
			parts[i] = strchr(parts[i - 1], '\x01');
			*parts[i]++ = '\0';
		}
		if (zdm_is_twin_name(parts[0], 0))
			continue;
		key.source = parts[0];
		key.name = zdm_twin_index_name(migration, parts[0]);
		key.constraint = (Oid) strtoul(parts[1], NULL, 10);
		key.relation = (Oid) strtoul(parts[2], NULL, 10);
		key.referenced = (Oid) strtoul(parts[3], NULL, 10);
		key.validated = parts[4][0] == 't';
		key.clause = psprintf("%s%s", parts[5],
							  zdm_key_is_quiet(key.constraint) ? " DEFERRABLE INITIALLY DEFERRED" : "");
		if (get_rel_relkind(key.relation) == RELKIND_PARTITIONED_TABLE && key.validated)
			steps = list_concat(steps, partitioned_steps(&key));
		else
			steps = list_concat(steps, key_steps(&key, key.relation));
	}
	return steps;
}

/*
 * The steps for the key on a table, which may be a partition.
 */
static List *
key_steps(const TwinKey *key, Oid relid)
{
	List	   *steps = zdm_constraint_add_steps(relid, key->name, key->source,
												 psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s NOT VALID",
														  zdm_quote_relation(relid),
														  quote_identifier(key->name), key->clause),
												 ShareRowExclusiveLock, list_make1_oid(key->referenced),
												 key->validated, key->left);
	ListCell   *lc;

	foreach(lc, steps)
	{
		ZdmStep    *step = lfirst(lc);

		follow(key, step);
		if (step->lock == ShareRowExclusiveLock)
			continue;
		/* What the server takes to look for the keys. */
		step->with_read = list_make1_oid(key->referenced);
		step->change = zdm_key_validated;
	}
	return steps;
}

/* In the transaction that adds it, the twin's triggers fire as the source's. */
static void
follow(const TwinKey *key, ZdmStep *step)
{
	step->from = psprintf("%u", key->constraint);
	step->to = key->name;
	step->change = zdm_key_follow;
}

static List *
partitioned_steps(const TwinKey *key)
{
	List	   *steps = NIL;
	ZdmStep    *step;
	bool		exists = false;
	ListCell   *lc;

	if (key->left)
		(void) zdm_constraint_is_valid(key->relation, key->name, &exists);
	if (exists)
		return NIL;
	foreach(lc, zdm_storage_relations(key->relation))
		steps = list_concat(steps, key_steps(key, lfirst_oid(lc)));
	step = zdm_step_on(key->relation, ZDM_STEP_DDL, ShareRowExclusiveLock,
					   psprintf("give the second column constraint \"%s\" of table \"%s\"", key->source,
								zdm_relation_label(key->relation)),
					   psprintf("ALTER TABLE %s ADD CONSTRAINT %s %s", zdm_quote_relation(key->relation),
								quote_identifier(key->name), key->clause));
	step->with = list_make1_oid(key->referenced);
	follow(key, step);
	return lappend(steps, step);
}
