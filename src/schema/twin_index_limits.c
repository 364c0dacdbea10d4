/*-------------------------------------------------------------------------
 *
 * twin_index_limits.c
 *	  Which indexes a twin column cannot take over, and which expressions.
 *
 * What an index demands of the column, it cannot demand of the twin at all
 * times:
 *
 * - A second unique index makes ON CONFLICT fail in a session that began
 *	 before it had loaded the library (arbiter.c).  Where the library is not
 *	 preloaded the twin's is a plain one, and becomes unique at contract.
 * - A constraint that may be deferred, or excludes, has no second one in time:
 *	 the server builds neither concurrently, and the twin's would be deferred by
 *	 another name.  The twin's index is a plain one here, too.
 *
 * That is sound only where the twin tells values apart as the column does, and
 * the index looks at nothing but the values: what the column's index has
 * refused all the time, the twin's would have.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/stratnum.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/migration.h"
#include "catalog/sync_rule.h"
#include "schema/constraint_change.h"
#include "schema/domain_change.h"
#include "schema/domain_twin.h"
#include "schema/depend.h"
#include "schema/relation.h"
#include "schema/twin_index.h"
#include "schema/twin_index_limits.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/guc.h"
#include "util/ident.h"
#include "util/spi.h"

/* An expression that is tried over the new type. */
typedef struct Trial
{
	Relation	rel;
	List	   *pairs;
	const ZdmType *type;
	Node	   *expr;
} Trial;

static char *index_limit(Relation rel, List *pairs, ZdmPair *pair,
						 const ZdmType *type, Relation index);
static char *demand_limit(Relation rel, List *pairs, Relation index);
static bool holds_for_twins(Relation rel, List *pairs, Relation index);
static char *other_migration(Relation rel, Relation index);
static bool has_column(Relation index, AttrNumber attnum);
static bool excludes_equals(Relation rel, List *pairs, Relation index);
static bool is_referenced(Oid index);
static Node *index_tree(Relation index, AttrNumber which);
static void try_expression(void *arg);

/*
 * The columns (ZdmRetyped *) of these tables whose type another migration in
 * flight changes.
 */
List *
zdm_retyped_columns(List *relids)
{
	List	   *result = NIL;
	ListCell   *lc,
			   *item,
			   *name;

	foreach(lc, relids)
	{
		foreach(item, zdm_migrations_on(lfirst_oid(lc)))
		{
			ZdmMigration *migration = lfirst(item);
			ListCell   *rule;

			if (strcmp(migration->pattern, "change_column_type") != 0)
				continue;
			foreach(rule, migration->rules)
			{
				ZdmSyncRule *sync = lfirst(rule);

				foreach(name, list_concat_copy(sync->old_columns, sync->new_columns))
				{
					ZdmRetyped *column = palloc_object(ZdmRetyped);

					column->migration = migration->name;
					column->relation = sync->relation;
					column->column = lfirst(name);
					result = lappend(result, column);
				}
			}
		}
	}
	return result;
}

/*
 * Add lines about the indexes of a column.
 */
List *
zdm_twin_index_limits(Relation rel, List *pairs, ZdmPair *pair, const ZdmType *type,
					  List *result)
{
	ListCell   *lc;

	foreach(lc, zdm_twin_index_sources(pair->relation, pair->from, pair->to))
	{
		Relation	index = relation_open(lfirst_oid(lc), AccessShareLock);
		Relation	table = table_open(index->rd_index->indrelid, AccessShareLock);
		char	   *limit = index_limit(table, pairs, pair, type, index);

		if (limit != NULL)
			result = zdm_add_line(result, psprintf("index %s: %s", RelationGetRelationName(index), limit));
		table_close(table, AccessShareLock);
		relation_close(index, AccessShareLock);
	}
	return result;
}

/*
 * Why the twin cannot have an index like this, NULL where it can.
 */
static char *
index_limit(Relation rel, List *pairs, ZdmPair *pair, const ZdmType *type,
			Relation index)
{
	Form_pg_index form = index->rd_index;
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), pair->from);
	bool		isnull;
	oidvector  *classes = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, index->rd_indextuple,
																		Anum_pg_index_indclass, &isnull));
	char	   *reason = demand_limit(rel, pairs, index);
	Node	   *tree;

	if (reason == NULL)
		reason = other_migration(rel, index);
	if (reason != NULL)
		return reason;
	for (int i = 0; i < form->indnkeyatts; i++)
	{
		Oid			own_default;

		if (form->indkey.values[i] != attnum)
			continue;
		own_default = GetDefaultOpClass(TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid,
										index->rd_rel->relam);
		if (own_default == classes->values[i])
		{
			if (!OidIsValid(GetDefaultOpClass(type->oid, index->rd_rel->relam)))
				return psprintf("type %s has no default operator class for its access method",
								zdm_type_text(type));
		}
		else if (!IsBinaryCoercible(type->oid, get_opclass_input_type(classes->values[i])))
			return psprintf("its operator class does not accept type %s", zdm_type_text(type));
	}
	tree = index_tree(index, Anum_pg_index_indexprs);
	if (tree != NULL && !zdm_twin_fits_type(rel, pairs, type, tree, &reason))
		return reason;
	tree = index_tree(index, Anum_pg_index_indpred);
	if (tree != NULL && !zdm_twin_fits_type(rel, pairs, type, tree, &reason))
		return reason;
	return NULL;
}

/*
 * Why what the index demands cannot be had of the twins, NULL where it can.
 */
static char *
demand_limit(Relation rel, List *pairs, Relation index)
{
	ZdmDemand	demand;
	bool		exact = holds_for_twins(rel, pairs, index);

	zdm_index_demand(RelationGetRelid(index), &demand);
	if (index->rd_index->indisexclusion && demand.type != CONSTRAINT_EXCLUSION)
		return pstrdup("a key WITHOUT OVERLAPS cannot be made from an index, so the table would be locked while it is built");
	if (demand.type == CONSTRAINT_EXCLUSION && rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		return pstrdup("an exclusion constraint of a partitioned table cannot be made from indexes");
	if (demand.type == CONSTRAINT_EXCLUSION && !(exact && excludes_equals(rel, pairs, index)))
		return pstrdup("an exclusion constraint is carried over only where it excludes equal values of the column, without a WHERE clause, and the new type holds every value as it is, by the server's own conversion");
	if (demand.deferrable && !exact)
		return pstrdup("a deferrable constraint is carried over only where the new type holds every value as it is, by the server's own conversion");
	if (demand.unique && !zdm_preloaded && !exact)
		return pstrdup("a second unique index needs zdm in shared_preload_libraries, or ON CONFLICT could fail meanwhile");
	if (demand.unique && !zdm_preloaded && is_referenced(RelationGetRelid(index)))
		return pstrdup("foreign keys refer to it: theirs need a second unique index, which needs zdm in shared_preload_libraries, or ON CONFLICT could fail meanwhile");
	return NULL;
}

/*
 * Whether what the index demands of the columns holds for the twins by itself.
 */
static bool
holds_for_twins(Relation rel, List *pairs, Relation index)
{
	Form_pg_index form = index->rd_index;
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), pair->from);

		if (zdm_root_table(RelationGetRelid(rel)) != zdm_root_table(pair->relation) ||
			!has_column(index, attnum))
			continue;
		if (!pair->exact || index_tree(index, Anum_pg_index_indexprs) != NULL ||
			index_tree(index, Anum_pg_index_indpred) != NULL)
			return false;
		for (int i = 0; i < form->indnkeyatts; i++)
		{
			Oid			type = TupleDescAttr(RelationGetDescr(rel), attnum - 1)->atttypid;

			if (form->indkey.values[i] == attnum &&
				index->rd_opfamily[i] != get_opclass_family(GetDefaultOpClass(type, index->rd_rel->relam)))
				return false;
		}
	}
	return true;
}

/*
 * Whether an exclusion constraint compares the columns that change by "=".
 */
static bool
excludes_equals(Relation rel, List *pairs, Relation index)
{
	ZdmDemand	demand;
	ListCell   *lc;

	zdm_index_demand(RelationGetRelid(index), &demand);
	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), pair->from);

		if (pair->relation != RelationGetRelid(rel))
			continue;
		for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		{
			Oid			input = index->rd_opcintype[i];
			Oid			tree = GetDefaultOpClass(input, BTREE_AM_OID);

			if (index->rd_index->indkey.values[i] == attnum &&
				(!OidIsValid(tree) ||
				 get_opfamily_member(index->rd_opfamily[i], input, input, (int16) demand.strategies[i]) !=
				 get_opfamily_member(get_opclass_family(tree), input, input, BTEqualStrategyNumber)))
				return false;
		}
	}
	return true;
}

static bool
has_column(Relation index, AttrNumber attnum)
{
	Bitmapset  *columns = NULL;

	if (attnum <= 0)
		return false;
	for (int i = 0; i < index->rd_index->indnatts; i++)
	{
		if (index->rd_index->indkey.values[i] == attnum)
			return true;
	}
	pull_varattnos(index_tree(index, Anum_pg_index_indexprs), 1, &columns);
	pull_varattnos(index_tree(index, Anum_pg_index_indpred), 1, &columns);
	return bms_is_member(attnum - FirstLowInvalidHeapAttributeNumber, columns);
}

static bool
is_referenced(Oid index)
{
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_constraint c WHERE c.conindid = $1 AND c.contype = 'f' LIMIT 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(index)))) != NIL;
}

/*
 * One index in two migrations: the first that is contracted would take it
 * away from the other.
 */
static char *
other_migration(Relation rel, Relation index)
{
	ListCell   *lc;

	foreach(lc, zdm_retyped_columns(list_make1_oid(zdm_root_table(RelationGetRelid(rel)))))
	{
		ZdmRetyped *other = lfirst(lc);

		if (has_column(index, get_attnum(RelationGetRelid(rel), other->column)))
			return psprintf("has column %s, which is in migration \"%s\" (contract that first)",
							other->column, other->migration);
	}
	return NULL;
}

/*
 * Add lines about indexes that came after expand, or changed since, and demand
 * what their likes cannot be made to demand.
 */
List *
zdm_twin_demand_losses(int64 migration, Relation rel, List *pairs, List *result)
{
	ListCell   *lc,
			   *item;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->relation != RelationGetRelid(rel))
			continue;
		foreach(item, zdm_twin_index_sources(pair->relation, pair->from, pair->to))
		{
			Relation	index = relation_open(lfirst_oid(item), AccessShareLock);
			Relation	table = table_open(index->rd_index->indrelid, AccessShareLock);
			Oid			twin = zdm_twin_index_named(RelationGetRelid(table),
													zdm_twin_index_name(migration, RelationGetRelationName(index)));
			char	   *limit = NULL;

			/* One that demands the same, or has a constraint, is proved. */
			if (OidIsValid(twin) && !OidIsValid(get_index_constraint(twin)) &&
				(index->rd_index->indisunique || index->rd_index->indisexclusion) &&
				(!zdm_index_is_unique(twin) || !index->rd_index->indimmediate))
				limit = demand_limit(table, pairs, index);
			if (limit != NULL)
				result = zdm_add_line(result, psprintf("index %s: %s", RelationGetRelationName(index), limit));
			table_close(table, AccessShareLock);
			relation_close(index, AccessShareLock);
		}
	}
	return result;
}

/*
 * Whether both columns would have a unique index in a quarantine that only a
 * server which preloads the library can have.
 */
bool
zdm_needs_preload(List *pairs)
{
	ListCell   *lc,
			   *item;

	foreach(lc, zdm_preloaded ? NIL : pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		foreach(item, zdm_twin_index_sources(pair->relation, pair->from, pair->to))
		{
			Relation	index = relation_open(lfirst_oid(item), AccessShareLock);
			bool		unique = index->rd_index->indisunique && index->rd_index->indimmediate;

			relation_close(index, AccessShareLock);
			if (unique)
				return true;
		}
	}
	return false;
}

static Node *
index_tree(Relation index, AttrNumber which)
{
	bool		isnull;
	Datum		tree = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, which, &isnull);

	return isnull ? NULL : stringToNode(TextDatumGetCString(tree));
}

/*
 * Whether an expression still makes sense over the new type, or the reason
 * why it does not.
 */
bool
zdm_twin_fits_type(Relation rel, List *pairs, const ZdmType *type, Node *expr,
				   char **reason)
{
	Trial		trial = {.rel = rel,.pairs = pairs,.type = type};
	ErrorData  *error;
	ListCell   *lc;

	if (expr == NULL)
		return true;
	if (IsA(expr, List))
	{
		foreach(lc, (List *) expr)
		{
			if (!zdm_twin_fits_type(rel, pairs, type, lfirst(lc), reason))
				return false;
		}
		return true;
	}
	trial.expr = expr;
	if (zdm_attempt(try_expression, &trial, &error))
		return true;
	*reason = error->message;
	return false;
}

static void
try_expression(void *arg)
{
	Trial	   *trial = arg;
	TupleDesc	meanwhile = zdm_description_with(RelationGetDescr(trial->rel), NULL, NULL);
	TupleDesc	after = zdm_description_with(RelationGetDescr(trial->rel), NULL, NULL);
	char	   *text = zdm_twin_text(trial->rel, trial->pairs, trial->type, trial->expr);
	ZdmIdentity saved;
	ListCell   *lc;

	foreach(lc, trial->pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (get_attnum(RelationGetRelid(trial->rel), pair->to) <= 0)
		{
			ZdmType		type;

			zdm_type_meanwhile(trial->type, &type);
			meanwhile = zdm_description_with(meanwhile, pair->to, &type);
			after = zdm_description_with(after, pair->to, trial->type);
		}
	}
	zdm_pin_path(&saved);
	zdm_pin_style();
	(void) zdm_expression_over(meanwhile, after, text);
	zdm_unbecome(&saved);
}
