/*-------------------------------------------------------------------------
 *
 * constraint_change.c
 *	  Constraints with an index: what no statement makes of them.
 *
 * All of it is done under the ACCESS EXCLUSIVE lock on the table and its
 * partitions, by whoever owns them:
 *
 * - A primary key becomes a plain unique constraint, or the reverse.  A table
 *	 has one primary key, so that of a column that is set aside has to go; by
 *	 SQL its index would go with it, and the way back would have to build it
 *	 again while the table is locked.
 * - A constraint is made of an index that is there.  By SQL that is to be had
 *	 for the unique index of one table, but not for a partitioned one, and not
 *	 for an index that so far demands nothing.  The latter is sound only where
 *	 what the constraint demands is known to hold: that is the caller's to say.
 * - A constraint that may be deferred is from now on deferred, or not, from the
 *	 start.  By SQL that is to be had for foreign keys alone.
 *
 * A partition's constraint depends on its parent's, and its index on its
 * parent's, as the server has it where it makes both at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "schema/constraint_change.h"
#include "schema/twin_index.h"
#include "util/compat.h"
#include "util/ident.h"

/* How a demand is told to the step: by letters. */
#define UNIQUE			'q'
#define NULLS_EQUAL		'n'
#define DEFERRABLE		'd'
#define DEFERRED		'i'

static void make_primary(ZdmStep *step);
static void make_unique(ZdmStep *step);
static void set_primary(Oid index, bool primary);
static void defer(ZdmStep *step);
static void defer_not(ZdmStep *step);
static void set_deferred(Oid index, bool deferred);
static void make_demand(ZdmStep *step);
static void demand_of_index(Oid index, Oid parent, const char *demand);
static void set_demand(Oid index, const char *demand);
static Oid *exclusion_operators(Relation index, const char *demand);
static void read_constraint(Relation index, Oid constraint, ZdmDemand *demand);

/*
 * What an index demands by itself or by its constraint.
 */
void
zdm_index_demand(Oid index, ZdmDemand *demand)
{
	Relation	rel = relation_open(index, AccessShareLock);
	Oid			constraint = get_index_constraint(index);

	memset(demand, 0, sizeof(*demand));
	demand->unique = rel->rd_index->indisunique;
	demand->nulls_not_distinct = rel->rd_index->indnullsnotdistinct;
	if (OidIsValid(constraint))
		read_constraint(rel, constraint, demand);
	relation_close(rel, AccessShareLock);
}

static void
read_constraint(Relation index, Oid constraint, ZdmDemand *demand)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	Datum		operators;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	demand->type = form->contype;
	demand->deferrable = form->condeferrable;
	demand->deferred = form->condeferred;
	operators = SysCacheGetAttr(CONSTROID, tuple, Anum_pg_constraint_conexclop, &isnull);
	if (!isnull)
	{
		Datum	   *elems;

		deconstruct_array(DatumGetArrayTypeP(operators), OIDOID, sizeof(Oid), true, TYPALIGN_INT,
						  &elems, NULL, &demand->operators);
		demand->strategies = palloc_array(uint16, demand->operators);
		for (int i = 0; i < demand->operators; i++)
			demand->strategies[i] = (uint16) get_op_opfamily_strategy(DatumGetObjectId(elems[i]),
																	  index->rd_opfamily[i]);
	}
	ReleaseSysCache(tuple);
}

ZdmStep *
zdm_primary_key_step(Oid relid, const char *constraint, bool primary)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
								   primary ? "make the unique constraint the primary key"
								   : "make the primary key a unique constraint",
								   psprintf("-- catalog: constraint %s of table %s is %s", quote_identifier(constraint),
											zdm_quote_relation(relid), primary ? "the primary key" : "unique"));

	step->from = pstrdup(constraint);
	step->change = primary ? make_primary : make_unique;
	return step;
}

static void
make_primary(ZdmStep *step)
{
	set_primary(zdm_twin_index_named(step->relation, step->from), true);
}

static void
make_unique(ZdmStep *step)
{
	set_primary(zdm_twin_index_named(step->relation, step->from), false);
}

/*
 * Of a partitioned table's, the partitions' with it.
 */
static void
set_primary(Oid index, bool primary)
{
	Oid			constraint = get_index_constraint(index);
	Relation	constraints = table_open(ConstraintRelationId, RowExclusiveLock);
	Relation	indexes = table_open(IndexRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(CONSTROID, ObjectIdGetDatum(constraint));
	HeapTuple	row = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_constraint form;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple) || !HeapTupleIsValid(row))
		elog(ERROR, "cache lookup failed for constraint %u of index %u", constraint, index);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	if (form->contype != (primary ? CONSTRAINT_UNIQUE : CONSTRAINT_PRIMARY))
		elog(ERROR, "constraint \"%s\" is of another kind", NameStr(form->conname));
	form->contype = primary ? CONSTRAINT_PRIMARY : CONSTRAINT_UNIQUE;
	CatalogTupleUpdate(constraints, &tuple->t_self, tuple);
	((Form_pg_index) GETSTRUCT(row))->indisprimary = primary;
	CatalogTupleUpdate(indexes, &row->t_self, row);

	CacheInvalidateRelcacheByRelid(index);
	CacheInvalidateRelcacheByRelid(form->conrelid);
	table_close(indexes, RowExclusiveLock);
	table_close(constraints, RowExclusiveLock);
	foreach(lc, find_inheritance_children(index, NoLock))
		set_primary(lfirst_oid(lc), primary);
}

ZdmStep *
zdm_defer_step(Oid relid, const char *constraint, bool deferred)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
								   deferred ? "have a constraint look at the end of a transaction"
								   : "have a constraint look at the end of a statement",
								   psprintf("-- catalog: constraint %s of table %s is INITIALLY %s",
											quote_identifier(constraint), zdm_quote_relation(relid),
											deferred ? "DEFERRED" : "IMMEDIATE"));

	step->from = pstrdup(constraint);
	step->change = deferred ? defer : defer_not;
	return step;
}

static void
defer(ZdmStep *step)
{
	set_deferred(zdm_twin_index_named(step->relation, step->from), true);
}

static void
defer_not(ZdmStep *step)
{
	set_deferred(zdm_twin_index_named(step->relation, step->from), false);
}

/*
 * Constraint and trigger, and those of the partitions.
 */
static void
set_deferred(Oid index, bool deferred)
{
	Oid			constraint = get_index_constraint(index);
	Relation	constraints = table_open(ConstraintRelationId, RowExclusiveLock);
	Relation	triggers = table_open(TriggerRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(CONSTROID, ObjectIdGetDatum(constraint));
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	trigger;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u of index %u", constraint, index);
	((Form_pg_constraint) GETSTRUCT(tuple))->condeferred = deferred;
	CatalogTupleUpdate(constraints, &tuple->t_self, tuple);
	ScanKeyInit(&key, Anum_pg_trigger_tgconstraint, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(constraint));
	scan = systable_beginscan(triggers, TriggerConstraintIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(trigger = systable_getnext(scan)))
	{
		trigger = heap_copytuple(trigger);
		((Form_pg_trigger) GETSTRUCT(trigger))->tginitdeferred = deferred;
		CatalogTupleUpdate(triggers, &trigger->t_self, trigger);
	}
	systable_endscan(scan);
	CacheInvalidateRelcacheByRelid(((Form_pg_constraint) GETSTRUCT(tuple))->conrelid);
	table_close(triggers, RowExclusiveLock);
	table_close(constraints, RowExclusiveLock);
	foreach(lc, find_inheritance_children(index, NoLock))
		set_deferred(lfirst_oid(lc), deferred);
}

/*
 * The index, and with it those of partitions, demands that of its columns from
 * now on, by a constraint of its own name where there is to be one.
 */
ZdmStep *
zdm_demand_step(Oid relid, const char *index, const ZdmDemand *demand)
{
	ZdmStep    *step;
	const char *what = demand->type == CONSTRAINT_PRIMARY ? "the primary key" :
		demand->type == CONSTRAINT_EXCLUSION ? "an exclusion constraint" :
		demand->type == CONSTRAINT_UNIQUE ? "a unique constraint" : "unique";
	StringInfoData letters;

	initStringInfo(&letters);
	appendStringInfoChar(&letters, demand->type == '\0' ? UNIQUE : demand->type);
	if (demand->unique)
		appendStringInfoChar(&letters, UNIQUE);
	if (demand->nulls_not_distinct)
		appendStringInfoChar(&letters, NULLS_EQUAL);
	if (demand->deferrable)
		appendStringInfoChar(&letters, DEFERRABLE);
	if (demand->deferred)
		appendStringInfoChar(&letters, DEFERRED);
	for (int i = 0; i < demand->operators; i++)
		appendStringInfo(&letters, ",%d", demand->strategies[i]);
	step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
					   psprintf("make the second column's index %s", what),
					   psprintf("-- catalog: index %s of table %s is %s%s%s", quote_identifier(index),
								zdm_quote_relation(relid), what,
								demand->deferrable ? " DEFERRABLE" : "",
								demand->deferred ? " INITIALLY DEFERRED" : ""));
	step->from = pstrdup(index);
	step->to = letters.data;
	step->change = make_demand;
	return step;
}

static void
make_demand(ZdmStep *step)
{
	demand_of_index(zdm_twin_index_named(step->relation, step->from), InvalidOid, step->to);
}

static void
demand_of_index(Oid index, Oid parent, const char *demand)
{
	Relation	table = table_open(IndexGetRelation(index, false), AccessExclusiveLock);
	Relation	rel = relation_open(index, AccessShareLock);
	IndexInfo  *info = BuildIndexInfo(rel);
	int			flags = INDEX_CONSTR_CREATE_UPDATE_INDEX | INDEX_CONSTR_CREATE_REMOVE_OLD_DEPS;
	Oid			constraint = InvalidOid;
	ListCell   *lc;

	set_demand(index, demand);
	if (demand[0] == CONSTRAINT_PRIMARY)
		flags |= INDEX_CONSTR_CREATE_MARK_AS_PRIMARY;
	if (strchr(demand, DEFERRABLE) != NULL)
		flags |= INDEX_CONSTR_CREATE_DEFERRABLE;
	if (strchr(demand, DEFERRED) != NULL)
		flags |= INDEX_CONSTR_CREATE_INIT_DEFERRED;
	info->ii_ExclusionOps = exclusion_operators(rel, demand);
	if (demand[0] != UNIQUE)
		constraint = index_constraint_create(table, index, parent, info,
											 RelationGetRelationName(rel), demand[0], flags,
											 false, false).objectId;
	relation_close(rel, NoLock);
	table_close(table, NoLock);
	CommandCounterIncrement();
	foreach(lc, find_inheritance_children(index, NoLock))
		demand_of_index(lfirst_oid(lc), constraint, demand);
}

/*
 * The index's own row.
 */
static void
set_demand(Oid index, const char *demand)
{
	Relation	indexes = table_open(IndexRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(index));
	Form_pg_index form;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", index);
	form = (Form_pg_index) GETSTRUCT(tuple);
	form->indisunique = strchr(demand, UNIQUE) != NULL;
	form->indnullsnotdistinct = strchr(demand, NULLS_EQUAL) != NULL;
	form->indisexclusion = demand[0] == CONSTRAINT_EXCLUSION;
	CatalogTupleUpdate(indexes, &tuple->t_self, tuple);
	CacheInvalidateRelcacheByRelid(index);
	CacheInvalidateRelcacheByRelid(form->indrelid);
	table_close(indexes, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * The operators of an exclusion constraint, by their strategies; NULL where it
 * is none.
 */
static Oid *
exclusion_operators(Relation index, const char *demand)
{
	Oid		   *result = NULL;
	int			count = index->rd_index->indnkeyatts;

	if (demand[0] != CONSTRAINT_EXCLUSION)
		return NULL;
	result = palloc_array(Oid, count);
	for (int i = 0; i < count; i++)
	{
		demand = strchr(demand, ',') + 1;
		result[i] = get_opfamily_member(index->rd_opfamily[i], index->rd_opcintype[i],
										index->rd_opcintype[i], (int16) atoi(demand));
		if (!OidIsValid(result[i]))
			elog(ERROR, "index \"%s\" has no operator of strategy %d", RelationGetRelationName(index), atoi(demand));
	}
	return result;
}
