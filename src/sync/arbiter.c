/*-------------------------------------------------------------------------
 *
 * arbiter.c
 *	  INSERT ... ON CONFLICT where two columns of a rename are unique.
 *
 * ON CONFLICT (name) asks the unique indexes on that column, its arbiters,
 * whether there is such a row.  Of two sessions that insert the same one at
 * once, the second learns from an arbiter that it came too late, and updates
 * the row.  Any other unique index raises an error.  While a rename is in
 * flight, what is unique in one column is unique in the other, and has an
 * index on each: so the one that the statement did not name would raise it,
 * an error that the application has never met.  Therefore each index whose
 * counterpart is an arbiter becomes one, too.
 *
 * The executor reads a table's list of arbiters anew for each row, after the
 * BEFORE triggers; so the sync trigger is the place, and nobody but those who
 * write such a table pays for it.  A partition's list is the one that counts,
 * and is made by then.  Its root's stays as it is: the executor derives the
 * partitions' lists from it, and demands an index on each of them.  That also
 * covers what a list from the planner never could: indexes that are being
 * built, which are not valid but demand uniqueness already, and those of a
 * partition that are not attached yet.
 *
 * The statement is known only where our hooks saw it begin.  A session that
 * loads the library in its first statement lacks that, so unique indexes on a
 * second column are for servers that preload it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/attmap.h"
#include "executor/execdesc.h"
#include "nodes/execnodes.h"
#include "optimizer/optimizer.h"
#include "utils/memutils.h"

#include "schema/twin_expression.h"
#include "schema/twin_index.h"
#include "sync/arbiter.h"
#include "sync/rule.h"
#include "sync/written.h"
#include "util/compat.h"

static bool has_arbiters(EState *estate);
static bool widen(EState *estate, ResultRelInfo *info);
static bool widen_once(EState *estate, ResultRelInfo *info, ZdmRuleSet *set,
					   const ZdmRule *rule);
static AttrMap *twins_of(ZdmRuleSet *set, const ZdmRule *rule, TupleDesc desc);
static bool is_rename(const ZdmRule *rule);
static bool is_pair(const ZdmRule *rule);
static bool are_counterparts(ResultRelInfo *info, int i, int j, const ZdmRule *rule,
							 const AttrMap *twins);
static bool demands_unique(ResultRelInfo *info, int number);
static bool mirrors(ResultRelInfo *info, int first, int second, const AttrMap *twins);
static bool mirrors_tree(List *first, List *second, TupleDesc desc,
						 const AttrMap *twins);

/*
 * Called for each row that is inserted into the table, in the memory context
 * that its trigger was called in.
 */
void
zdm_arbiters_widen(Relation rel)
{
	ZdmRunning *statement = zdm_firing_statement();
	EState	   *estate;
	bool		done = true;
	ListCell   *lc;

	if (statement == NULL || statement->arbiters == ZDM_ARBITERS_NONE)
		return;
	estate = statement->desc->estate;
	if (statement->arbiters == ZDM_ARBITERS_UNKNOWN)
	{
		statement->arbiters = has_arbiters(estate) ? ZDM_ARBITERS_SOME :
			ZDM_ARBITERS_NONE;
		if (statement->arbiters == ZDM_ARBITERS_NONE)
			return;
	}

	if (statement->widened != RelationGetRelid(rel))
	{
		foreach(lc, estate->es_opened_result_relations)
		{
			ResultRelInfo *info = lfirst(lc);

			if (RelationGetRelid(info->ri_RelationDesc) == RelationGetRelid(rel) &&
				!widen(estate, info))
				done = false;
		}
		statement->widened = done ? RelationGetRelid(rel) : InvalidOid;
	}
	/* Partitions are added to this list as rows come to them. */
	for_each_from(lc, estate->es_tuple_routing_result_relations,
				  statement->widened_partitions)
		(void) widen(estate, lfirst(lc));
	statement->widened_partitions =
		list_length(estate->es_tuple_routing_result_relations);
}

static bool
has_arbiters(EState *estate)
{
	ListCell   *lc;

	foreach(lc, estate->es_opened_result_relations)
	{
		if (((ResultRelInfo *) lfirst(lc))->ri_onConflictArbiterIndexes != NIL)
			return true;
	}
	return false;
}

/*
 * Returns false where the statement has not come to that table yet.
 */
static bool
widen(EState *estate, ResultRelInfo *info)
{
	ZdmRuleSet *set;
	int			held;
	bool		more;

	/* Without a list, every index is an arbiter already. */
	if (info->ri_onConflictArbiterIndexes == NIL ||
		info->ri_RelationDesc->rd_rel->relkind != RELKIND_RELATION)
		return true;
	if (info->ri_IndexRelationDescs == NULL)
		return false;
	set = zdm_rules_get(info->ri_RelationDesc);
	held = zdm_rules_hold();
	do
	{
		more = false;
		for (int i = 0; i < set->count; i++)
		{
			if (is_pair(&set->rules[i]) &&
				widen_once(estate, info, set, &set->rules[i]))
				more = true;
		}
	} while (more);
	zdm_rules_release(held);
	return true;
}

/*
 * Add the counterparts, by one rule, of the arbiters that there are.
 */
static bool
widen_once(EState *estate, ResultRelInfo *info, ZdmRuleSet *set, const ZdmRule *rule)
{
	AttrMap    *twins = twins_of(set, rule, RelationGetDescr(info->ri_RelationDesc));
	List	   *arbiters = info->ri_onConflictArbiterIndexes;
	List	   *added = NIL;
	MemoryContext old;

	for (int i = 0; i < info->ri_NumIndices; i++)
	{
		if (!demands_unique(info, i) ||
			list_member_oid(arbiters, RelationGetRelid(info->ri_IndexRelationDescs[i])))
			continue;
		for (int j = 0; j < info->ri_NumIndices; j++)
		{
			if (demands_unique(info, j) &&
				list_member_oid(arbiters, RelationGetRelid(info->ri_IndexRelationDescs[j])) &&
				are_counterparts(info, i, j, rule, twins))
			{
				added = lappend_oid(added, RelationGetRelid(info->ri_IndexRelationDescs[i]));
				break;
			}
		}
	}
	if (added == NIL)
		return false;
	/* The list that is there may be a cached plan's. */
	old = MemoryContextSwitchTo(estate->es_query_cxt);
	info->ri_onConflictArbiterIndexes = list_concat_copy(arbiters, added);
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * For each column the one that stands for it in an index by the rules of the
 * rule's migration, which is the column itself for most.
 */
static AttrMap *
twins_of(ZdmRuleSet *set, const ZdmRule *rule, TupleDesc desc)
{
	AttrMap    *twins = make_attrmap(desc->natts);

	for (int i = 0; i < desc->natts; i++)
		twins->attnums[i] = (AttrNumber) (i + 1);
	for (int i = 0; i < set->count; i++)
	{
		const ZdmRule *other = &set->rules[i];
		const ZdmSide *original = other->new_leads ? &other->new : &other->old;
		const ZdmSide *copy = other->new_leads ? &other->old : &other->new;

		if (is_pair(other) && other->migration_id == rule->migration_id)
			twins->attnums[original->columns[0].attnum - 1] = copy->columns[0].attnum;
	}
	return twins;
}

/*
 * Whether a rule has one column on each side, and copies.
 */
static bool
is_rename(const ZdmRule *rule)
{
	return is_pair(rule) &&
		rule->new.columns[0].value.same_as == rule->old.columns[0].attnum &&
		rule->old.columns[0].value.same_as == rule->new.columns[0].attnum;
}

static bool
is_pair(const ZdmRule *rule)
{
	return rule->old.count == 1 && rule->new.count == 1;
}

/*
 * Whether one of two indexes is the counterpart of the other by this rule.
 * Where the columns do not hold the same, only an index that zdm has made is
 * anybody's counterpart.
 */
static bool
are_counterparts(ResultRelInfo *info, int i, int j, const ZdmRule *rule,
				 const AttrMap *twins)
{
	if (!is_rename(rule) &&
		!zdm_is_twin_index(RelationGetRelid(info->ri_IndexRelationDescs[i]), 0) &&
		!zdm_is_twin_index(RelationGetRelid(info->ri_IndexRelationDescs[j]), 0))
		return false;
	return mirrors(info, i, j, twins) || mirrors(info, j, i, twins);
}

/*
 * Whether an index, valid or not, refuses a second row with the same key at
 * once.
 */
static bool
demands_unique(ResultRelInfo *info, int number)
{
	IndexInfo  *index = info->ri_IndexRelationInfo[number];
	Relation	rel = info->ri_IndexRelationDescs[number];

	return rel != NULL && index->ii_Unique && index->ii_ReadyForInserts &&
		index->ii_ExclusionOps == NULL && rel->rd_index->indimmediate;
}

/*
 * Whether the second index is the first, with the twins in their columns'
 * places.
 */
static bool
mirrors(ResultRelInfo *info, int first, int second, const AttrMap *twins)
{
	TupleDesc	desc = RelationGetDescr(info->ri_RelationDesc);
	IndexInfo  *a = info->ri_IndexRelationInfo[first];
	IndexInfo  *b = info->ri_IndexRelationInfo[second];
	Relation	a_rel = info->ri_IndexRelationDescs[first];
	Relation	b_rel = info->ri_IndexRelationDescs[second];

	if (a->ii_NumIndexKeyAttrs != b->ii_NumIndexKeyAttrs ||
		a->ii_NullsNotDistinct != b->ii_NullsNotDistinct)
		return false;
	for (int i = 0; i < a->ii_NumIndexKeyAttrs; i++)
	{
		AttrNumber	attnum = a->ii_IndexAttrNumbers[i];

		if ((attnum > 0 ? twins->attnums[attnum - 1] : attnum) != b->ii_IndexAttrNumbers[i])
			return false;
		/* Another type has operators of its own. */
		if (a_rel->rd_opcintype[i] == b_rel->rd_opcintype[i] &&
			(a_rel->rd_opfamily[i] != b_rel->rd_opfamily[i] ||
			 a_rel->rd_indcollation[i] != b_rel->rd_indcollation[i]))
			return false;
	}
	return mirrors_tree(a->ii_Expressions, b->ii_Expressions, desc, twins) &&
		mirrors_tree(a->ii_Predicate, b->ii_Predicate, desc, twins);
}

static bool
mirrors_tree(List *first, List *second, TupleDesc desc, const AttrMap *twins)
{
	Node	   *mapped = (Node *) first;

	if (list_length(first) != list_length(second))
		return false;
	if (first == NIL)
		return true;
	for (int i = 0; mapped != NULL && i < twins->maplen; i++)
	{
		if (twins->attnums[i] != i + 1)
			mapped = zdm_twin_expression(mapped, desc, (AttrNumber) (i + 1), twins->attnums[i]);
	}

	/* The server has simplified the second, which may have gone further. */
	return mapped != NULL &&
		(equal(mapped, second) ||
		 equal(eval_const_expressions(NULL, mapped), second));
}
