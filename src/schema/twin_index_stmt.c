/*-------------------------------------------------------------------------
 *
 * twin_index_stmt.c
 *	  The statements that make a twin column's indexes.
 *
 * A statement comes as the tree that the server makes for CREATE TABLE ...
 * LIKE from an index's catalog rows, with the columns by their numbers; no
 * text is parsed, so nothing depends on a name or a search_path.  What it
 * has by name is put right here, and what makes it a constraint's is taken
 * off.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_collation.h"
#include "nodes/makefuncs.h"
#include "parser/parse_utilcmd.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/ruleutils.h"
#include "utils/syscache.h"

#include "schema/retype.h"
#include "schema/twin_constraint.h"
#include "schema/twin_expression.h"
#include "schema/twin_index.h"
#include "util/compat.h"
#include "util/spi.h"

static bool may_be_unique(Relation source);
static void fit_keys(IndexStmt *stmt, Relation table, Relation source, List *pairs);
static Node *fit_expression(Node *expr, TupleDesc desc, List *pairs);
static ZdmPair *fit_name(IndexElem *elem, List *pairs);
static List *collation_name(Oid collation);

/*
 * The statement that makes the index, in the current context, with the twins
 * of all the pairs (ZdmPair *) of its table.  It must run as a superuser;
 * ZDM_INDEX_BUILD at the top level, outside of any transaction block.  Unique
 * only where the source is, at once.
 */
IndexStmt *
zdm_twin_index_stmt(const ZdmIndexWork *work, List *pairs, bool unique)
{
	Relation	table = table_open(work->table, AccessShareLock);
	Relation	source = index_open(work->source, AccessShareLock);
	AttrMap    *map = make_attrmap(RelationGetDescr(table)->natts);
	RangeVar   *range;
	IndexStmt  *stmt;

	Assert(work->kind != ZDM_INDEX_ATTACH);
	range = makeRangeVar(get_namespace_name(RelationGetNamespace(table)),
						 pstrdup(RelationGetRelationName(table)), -1);
	range->inh = work->kind != ZDM_INDEX_PARTITIONED;

	for (int i = 0; i < map->maplen; i++)
		map->attnums[i] = (AttrNumber) (i + 1);
	stmt = generateClonedIndexStmt(range, source, map, NULL);
	free_attrmap(map);
	fit_keys(stmt, table, source, pairs);

	stmt->idxname = pstrdup(work->name);
	stmt->concurrent = work->kind == ZDM_INDEX_BUILD;
	stmt->unique = unique && may_be_unique(source);
	stmt->nulls_not_distinct = stmt->nulls_not_distinct && stmt->unique;
	stmt->primary = false;
	stmt->isconstraint = false;
	stmt->deferrable = false;
	stmt->initdeferred = false;
	stmt->excludeOpNames = NIL;
	zdm_index_stmt_plain(stmt);

	index_close(source, AccessShareLock);
	table_close(table, AccessShareLock);
	return stmt;
}

/*
 * ON CONFLICT has no use for one that is checked later; an exclusion
 * constraint's is none to speak of, even where it is WITHOUT OVERLAPS.
 */
static bool
may_be_unique(Relation source)
{
	return source->rd_index->indisunique && source->rd_index->indimmediate &&
		!source->rd_index->indisexclusion;
}

/*
 * Put the twins in the columns' places.  The server names a collation where it
 * is not the type's; what counts is whether it is the column's.
 */
static void
fit_keys(IndexStmt *stmt, Relation table, Relation source, List *pairs)
{
	TupleDesc	desc = RelationGetDescr(table);
	ZdmIdentity saved;
	ListCell   *lc;

	/* What an expression becomes over another type is parsed. */
	zdm_become(table->rd_rel->relowner, &saved);
	foreach(lc, stmt->indexParams)
	{
		IndexElem  *elem = lfirst_node(IndexElem, lc);
		int			key = foreach_current_index(lc);
		Oid			own;

		if (elem->expr != NULL)
		{
			elem->expr = fit_expression(elem->expr, desc, pairs);
			own = exprCollation(elem->expr);
			if (!OidIsValid(own))
			{
				elem->collation = NIL;
				continue;
			}
		}
		else
		{
			ZdmPair    *pair = fit_name(elem, pairs);

			own = TupleDescAttr(desc, source->rd_index->indkey.values[key] - 1)->attcollation;
			/* A type without collations has no use for one. */
			if (pair != NULL &&
				!OidIsValid(TupleDescAttr(desc, get_attnum(RelationGetRelid(table), pair->to) - 1)->attcollation))
			{
				elem->collation = NIL;
				continue;
			}
		}
		elem->collation = source->rd_indcollation[key] == own ? NIL :
			collation_name(source->rd_indcollation[key]);
	}
	foreach(lc, stmt->indexIncludingParams)
		(void) fit_name(lfirst_node(IndexElem, lc), pairs);
	if (stmt->whereClause != NULL)
		stmt->whereClause = fit_expression(stmt->whereClause, desc, pairs);
	zdm_unbecome(&saved);
}

static Node *
fit_expression(Node *expr, TupleDesc desc, List *pairs)
{
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		expr = zdm_twin_expression(expr, desc, zdm_description_number(desc, pair->from),
								   zdm_description_number(desc, pair->to));
	}
	return expr;
}

/*
 * Returns the pair whose column it was, NULL where it is another.
 */
static ZdmPair *
fit_name(IndexElem *elem, List *pairs)
{
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (strcmp(elem->name, pair->from) == 0)
		{
			elem->name = pstrdup(pair->to);
			elem->indexcolname = pstrdup(pair->to);
			return pair;
		}
	}
	return NULL;
}

static List *
collation_name(Oid collation)
{
	HeapTuple	tuple;
	Form_pg_collation form;
	List	   *result;

	if (!OidIsValid(collation))
		return NIL;
	tuple = SearchSysCache1(COLLOID, ObjectIdGetDatum(collation));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for collation %u", collation);
	form = (Form_pg_collation) GETSTRUCT(tuple);
	result = list_make2(makeString(get_namespace_name(form->collnamespace)),
						makeString(pstrdup(NameStr(form->collname))));
	ReleaseSysCache(tuple);
	return result;
}

/*
 * For people: what makes the twin of an index, or what it is, once it is
 * there.  Before, nothing but the server's text for the source is to be had,
 * so that names the column.
 */
char *
zdm_twin_index_sql(int64 migration, Oid source, List *pairs, bool unique)
{
	Relation	index = index_open(source, AccessShareLock);
	bool		partitioned = index->rd_rel->relkind == RELKIND_PARTITIONED_INDEX;
	char	   *name = zdm_twin_index_name(migration, RelationGetRelationName(index));
	Oid			made = zdm_twin_index_named(index->rd_index->indrelid, name);
	char	   *start = psprintf("CREATE %sINDEX %s ",
								 index->rd_index->indisunique ? "UNIQUE " : "",
								 quote_identifier(RelationGetRelationName(index)));
	StringInfoData changes;
	ZdmIdentity saved;
	char	   *definition;
	ListCell   *lc;

	unique = unique && may_be_unique(index);
	index_close(index, AccessShareLock);
	zdm_pin_path(&saved);
	zdm_pin_style();
	definition = pg_get_indexdef_string(OidIsValid(made) ? made : source);
	zdm_unbecome(&saved);
	if (OidIsValid(made))
		return definition;

	if (strncmp(definition, start, strlen(start)) == 0)
		definition = psprintf("CREATE %sINDEX %s%s%s%s",
							  unique ? "UNIQUE " : "",
							  partitioned ? "" : "CONCURRENTLY ",
							  migration ? quote_identifier(name) : "",
							  migration ? " " : "",
							  definition + strlen(start));
	initStringInfo(&changes);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (list_member_oid(zdm_twin_index_sources(pair->relation, pair->from, pair->to), source))
			appendStringInfo(&changes, "%s%s in the place of %s", changes.len ? ", " : "",
							 quote_identifier(pair->to), quote_identifier(pair->from));
	}
	return psprintf("%s -- with %s%s", definition, changes.data,
					partitioned ? ", partition by partition, concurrently" : "");
}
