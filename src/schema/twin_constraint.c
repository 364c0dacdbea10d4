/*-------------------------------------------------------------------------
 *
 * twin_constraint.c
 *	  The constraints of twin columns.
 *
 * For each CHECK constraint and foreign key that has a column in it, in either
 * direction, its table gets one like it with the twins in the columns' places;
 * and for each NOT NULL a CHECK.  Each is added NOT VALID, and then validated,
 * which keeps nobody from writing; the promotion has nothing left to read.
 *
 * They come when the twins are filled: before, a statement that touches
 * something else in a row that is not filled would fail.  What is still to be
 * done is read from the catalog each time.  As with indexes, a constraint
 * knows what it is by its name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "rewrite/rewriteManip.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/domain_twin.h"
#include "schema/not_null.h"
#include "schema/relation.h"
#include "schema/retype.h"
#include "schema/twin_constraint.h"
#include "schema/twin_index.h"
#include "schema/twin_key.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static List *not_null_steps(int64 migration, ZdmPair *pair, bool left);
static List *check_steps(int64 migration, List *pairs, Oid relid, bool left);

ZdmPair *
zdm_pair(Oid relation, const char *from, const char *to)
{
	ZdmPair    *pair = palloc0_object(ZdmPair);

	pair->relation = relation;
	pair->from = pstrdup(from);
	pair->to = pstrdup(to);
	return pair;
}

ZdmArg
zdm_arg_oids(List *oids)
{
	Datum	   *elems = palloc_array(Datum, list_length(oids) + 1);
	ListCell   *lc;

	foreach(lc, oids)
		elems[foreach_current_index(lc)] = ObjectIdGetDatum(lfirst_oid(lc));
	return ZDM_ARG(OIDARRAYOID,
				   PointerGetDatum(construct_array(elems, list_length(oids), OIDOID,
												   sizeof(Oid), true, TYPALIGN_INT)));
}

ZdmArg
zdm_pair_relations(List *pairs)
{
	List	   *oids = NIL;
	ListCell   *lc;

	foreach(lc, pairs)
		oids = lappend_oid(oids, ((ZdmPair *) lfirst(lc))->relation);
	return zdm_arg_oids(oids);
}

ZdmArg
zdm_pair_names(List *pairs, bool twins)
{
	List	   *names = NIL;
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		names = lappend(names, twins ? pair->to : pair->from);
	}
	return zdm_arg_names(names);
}

/* The tables (oids) that they are of. */
List *
zdm_pair_tables(List *pairs)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, pairs)
		result = list_append_unique_oid(result, ((ZdmPair *) lfirst(lc))->relation);
	return result;
}

/*
 * The pairs of a table, or of that of which it is a partition, as it has them
 * itself.
 */
List *
zdm_pairs_of_part(List *pairs, Oid part)
{
	Oid			root = zdm_root_table(part);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		ZdmPair    *own;

		if (pair->relation != root)
			continue;
		own = palloc_object(ZdmPair);
		*own = *pair;
		own->relation = part;
		result = lappend(result, own);
	}
	return result;
}

/*
 * The steps that give the twins their constraints; with left, those that are
 * still to be done.
 */
List *
zdm_twin_constraint_steps(int64 migration, List *pairs, bool left)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->type != NULL)
			steps = list_concat(steps, zdm_domain_proof_steps(pair->relation, pair->to, pair->type, left));
		steps = list_concat(steps, not_null_steps(migration, pair, left));
	}
	foreach(lc, zdm_pair_tables(pairs))
		steps = list_concat(steps, check_steps(migration, pairs, lfirst_oid(lc), left));
	return list_concat(steps, zdm_twin_key_steps(migration, pairs, left));
}

/* The name of the CHECK that stands for a column's NOT NULL. */
char *
zdm_twin_not_null_name(int64 migration, const char *column)
{
	return zdm_twin_index_name(migration, psprintf("%s not null", column));
}

static List *
not_null_steps(int64 migration, ZdmPair *pair, bool left)
{
	bool		notnull = zdm_column_is_not_null(pair->relation, pair->from);
	char	   *name = zdm_twin_not_null_name(migration, pair->from);

	/* On the way back from a quarantine the twin is the column that was. */
	if (!notnull || zdm_column_is_not_null(pair->relation, pair->to))
		return NIL;
	return zdm_constraint_add_steps(pair->relation, name, psprintf("NOT NULL of %s", pair->from),
									psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s) NOT VALID",
											 zdm_quote_relation(pair->relation), quote_identifier(name),
											 zdm_not_null_condition(pair->relation, pair->to)),
									AccessExclusiveLock, NIL,
									zdm_not_null_unproved(pair->relation, pair->from) == NULL, left);
}

/*
 * A partition has its parent's constraints from it; those of its own alone
 * keep it from being migrated.
 */
static List *
check_steps(int64 migration, List *pairs, Oid relid, bool left)
{
	static const char *const sql =
		"SELECT DISTINCT c.oid::pg_catalog.int8 || '' FROM pg_catalog.pg_constraint c"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.conrelid"
		" AND a.attnum OPERATOR(pg_catalog.=) ANY (c.conkey)"
		" JOIN " ZDM_PAIRS_SQL " ON p.rel OPERATOR(pg_catalog.=) c.conrelid"
		" AND p.col OPERATOR(pg_catalog.=) a.attname"
		" WHERE c.conrelid OPERATOR(pg_catalog.=) $4 AND c.contype OPERATOR(pg_catalog.=) 'c'"
		" ORDER BY 1";
	List	   *steps = NIL;
	Relation	rel = table_open(relid, AccessShareLock);
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_PAIRS(pairs), ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)))))
	{
		Oid			constraint = (Oid) strtoul(lfirst(lc), NULL, 10);
		HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
		FormData_pg_constraint form;
		char	   *name;

		if (!HeapTupleIsValid(tuple))
			continue;
		memcpy(&form, GETSTRUCT(tuple), sizeof(form));
		ReleaseSysCache(tuple);
		if (zdm_is_twin_name(NameStr(form.conname), 0))
			continue;
		name = zdm_twin_index_name(migration, NameStr(form.conname));
		steps = list_concat(steps,
							zdm_constraint_add_steps(relid, name, NameStr(form.conname),
													 psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK (%s)%s NOT VALID",
															  zdm_quote_relation(relid), quote_identifier(name),
															  zdm_twin_text(rel, pairs, NULL, zdm_constraint_tree(constraint)),
															  form.connoinherit ? " NO INHERIT" : ""),
													 AccessExclusiveLock, NIL, form.convalidated, left));
	}
	table_close(rel, AccessShareLock);
	return steps;
}

/*
 * The expression of a CHECK constraint, as it is stored.
 */
Node *
zdm_constraint_tree(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Datum		tree;
	bool		isnull;
	Node	   *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	tree = SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conbin, &isnull);
	result = isnull ? NULL : stringToNode(TextDatumGetCString(tree));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * The text of an expression over a table, with the twins in their columns'
 * places, which are known by number.  Twins that are not there yet are of the
 * type.
 */
char *
zdm_twin_text(Relation rel, List *pairs, const ZdmType *type, Node *expr)
{
	TupleDesc	desc = zdm_description_with(RelationGetDescr(rel), NULL, NULL);
	AttrMap    *map;
	bool		whole_row;
	ListCell   *lc;
	ZdmType		any = {.oid = TEXTOID,.typmod = -1};

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->relation == RelationGetRelid(rel) && get_attnum(pair->relation, pair->to) <= 0)
			desc = zdm_description_with(desc, pair->to, type ? type : &any);
	}
	map = make_attrmap(RelationGetDescr(rel)->natts);
	for (int i = 0; i < map->maplen; i++)
		map->attnums[i] = (AttrNumber) (i + 1);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->relation == RelationGetRelid(rel))
			map->attnums[zdm_description_number(desc, pair->from) - 1] =
				zdm_description_number(desc, pair->to);
	}
	expr = map_variable_attnos(expr, 1, 0, map, InvalidOid, &whole_row);
	return zdm_expression_text(desc, expr);
}

/*
 * The steps that add a constraint, NOT VALID, and validate it; with left,
 * those that are still to be done.  The one that adds it may be given more to
 * do by the caller.
 */
List *
zdm_constraint_add_steps(Oid relid, const char *name, const char *source, char *add,
						 LOCKMODE lock, List *with, bool validate, bool left)
{
	List	   *steps = NIL;
	bool		exists = false;
	bool		validated = left && zdm_constraint_is_valid(relid, name, &exists);
	ZdmStep    *step;

	if (!exists)
	{
		step = zdm_step_on(relid, ZDM_STEP_DDL, lock,
						   psprintf("give the second column constraint \"%s\" of table \"%s\"", source,
									zdm_relation_label(relid)), add);
		step->with = with;
		steps = lappend(steps, step);
	}
	if (validate && !validated)
	{
		step = zdm_step_on(relid, ZDM_STEP_DDL, ShareUpdateExclusiveLock,
						   psprintf("validate constraint \"%s\" of table \"%s\"", source,
									zdm_relation_label(relid)),
						   psprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s",
									zdm_quote_relation(relid), quote_identifier(name)));
		steps = lappend(steps, step);
	}
	return steps;
}

bool
zdm_constraint_is_valid(Oid relid, const char *name, bool *exists)
{
	Oid			constraint = get_relation_constraint_oid(relid, name, true);
	HeapTuple	tuple;
	bool		result;

	*exists = OidIsValid(constraint);
	if (!*exists)
		return false;
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_constraint) GETSTRUCT(tuple))->convalidated;
	ReleaseSysCache(tuple);
	return result;
}
