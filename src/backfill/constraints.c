/*-------------------------------------------------------------------------
 *
 * constraints.c
 *	  What hangs on the columns that a backfill writes.
 *
 * The backfill updates rows below the executor (batch.c).  What somebody has
 * put on the columns that it writes is obeyed all the same: CHECK constraints
 * that refer to them, generated columns made from them, foreign keys and
 * unique constraints that contain them.  What is on other columns alone is
 * left as it is: old rows need not fulfil a constraint that is NOT VALID.
 *
 * Foreign keys are checked by the server's own triggers, the only ones of the
 * table that fire here, row by row, with no constraint deferred.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/sysattr.h"
#include "catalog/pg_attribute.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "rewrite/rewriteHandler.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "backfill/constraints.h"
#include "util/compat.h"
#include "util/spi.h"

typedef struct NamedCheck
{
	char	   *name;
	ExprState  *state;
} NamedCheck;

typedef struct GeneratedColumn
{
	AttrNumber	attnum;
	ExprState  *state;
} GeneratedColumn;

struct ZdmConstraints
{
	Relation	rel;
	Bitmapset  *written;		/* offset by
								 * FirstLowInvalidHeapAttributeNumber */
	EState	   *estate;
	ResultRelInfo *relinfo;
	List	   *checks;			/* of NamedCheck * */
	List	   *generated;		/* of GeneratedColumn * */
	bool		foreign_keys;
};

static void find_checks(ZdmConstraints *constraints);
static void find_generated(ZdmConstraints *constraints);
static void find_foreign_keys(ZdmConstraints *constraints);
static void keep_trigger(ZdmConstraints *constraints, Trigger *trigger,
						 int most);
static void make_trigger_slots(ZdmConstraints *constraints);
static void drop_trigger_slot(ZdmConstraints *constraints,
							  TupleTableSlot **slot);
static bool refers(ZdmConstraints *constraints, Node *expr);

/*
 * Find what hangs on the written columns.  relinfo is the table's in estate;
 * its triggers are replaced.
 */
ZdmConstraints *
zdm_constraints_on(Relation rel, Bitmapset *written, EState *estate,
				   ResultRelInfo *relinfo)
{
	ZdmConstraints *constraints = palloc0_object(ZdmConstraints);

	constraints->rel = rel;
	constraints->written = written;
	constraints->estate = estate;
	constraints->relinfo = relinfo;
	relinfo->ri_TrigDesc = NULL;
	find_checks(constraints);
	find_generated(constraints);
	find_foreign_keys(constraints);
	return constraints;
}

static bool
refers(ZdmConstraints *constraints, Node *expr)
{
	Bitmapset  *used = NULL;

	pull_varattnos(expr, 1, &used);
	return bms_overlap(used, constraints->written);
}

static void
find_checks(ZdmConstraints *constraints)
{
	TupleConstr *constr = RelationGetDescr(constraints->rel)->constr;

	for (int i = 0; constr != NULL && i < constr->num_check; i++)
	{
		Node	   *expr = stringToNode(constr->check[i].ccbin);
		NamedCheck *check;

		if (!refers(constraints, expr))
			continue;
		check = palloc_object(NamedCheck);
		check->name = constr->check[i].ccname;
		check->state = ExecPrepareExpr((Expr *) expr, constraints->estate);
		constraints->checks = lappend(constraints->checks, check);
	}
}

static void
find_generated(ZdmConstraints *constraints)
{
	TupleDesc	desc = RelationGetDescr(constraints->rel);

	if (desc->constr == NULL || !desc->constr->has_generated_stored)
		return;
	for (int i = 0; i < desc->natts; i++)
	{
		GeneratedColumn *column;
		Node	   *expr;

		if (TupleDescAttr(desc, i)->attgenerated != ATTRIBUTE_GENERATED_STORED)
			continue;
		expr = build_column_default(constraints->rel, i + 1);
		if (!refers(constraints, expr))
			continue;
		column = palloc_object(GeneratedColumn);
		column->attnum = i + 1;
		column->state = ExecPrepareExpr((Expr *) expr, constraints->estate);
		constraints->generated = lappend(constraints->generated, column);
	}
}

/*
 * Of the table's triggers keep those that check a foreign key of a written
 * column.
 */
static void
find_foreign_keys(ZdmConstraints *constraints)
{
	TriggerDesc *all = CopyTriggerDesc(constraints->rel->trigdesc);
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(constraints->rel))
	{
		ForeignKeyCacheInfo *key = lfirst(lc);
		bool		written = false;

		for (int i = 0; i < key->nkeys; i++)
			written |= bms_is_member(key->conkey[i] - FirstLowInvalidHeapAttributeNumber,
									 constraints->written);
		for (int i = 0; written && i < all->numtriggers; i++)
		{
			if (all->triggers[i].tgfoid == F_RI_FKEY_CHECK_UPD &&
				all->triggers[i].tgconstraint == key->conoid)
				keep_trigger(constraints, &all->triggers[i], all->numtriggers);
		}
	}
	if (constraints->foreign_keys)
	{
		/* The triggers look for their table among these. */
		constraints->estate->es_opened_result_relations =
			list_make1(constraints->relinfo);
		make_trigger_slots(constraints);
		zdm_set_constraints_immediate();
	}
}

static void
keep_trigger(ZdmConstraints *constraints, Trigger *trigger, int most)
{
	ResultRelInfo *relinfo = constraints->relinfo;
	TriggerDesc *kept = relinfo->ri_TrigDesc;

	if (kept == NULL)
	{
		relinfo->ri_TrigDesc = kept = palloc0_object(TriggerDesc);
		kept->triggers = palloc0_array(Trigger, most);
		kept->trig_update_after_row = true;
		relinfo->ri_TrigFunctions = palloc0_array(FmgrInfo, most);
		relinfo->ri_TrigWhenExprs = palloc0_array(ExprState *, most);
		constraints->foreign_keys = true;
	}
	kept->triggers[kept->numtriggers++] = *trigger;
}

/*
 * The slots that triggers get their rows in must belong to the batch, not to
 * the subtransaction of the row that needs them first.
 */
static void
make_trigger_slots(ZdmConstraints *constraints)
{
	(void) ExecGetTriggerOldSlot(constraints->estate, constraints->relinfo);
	(void) ExecGetTriggerNewSlot(constraints->estate, constraints->relinfo);
}

/*
 * Bring generated columns of the new row up to date, and check it, before it
 * is stored.
 */
void
zdm_constraints_before(ZdmConstraints *constraints, TupleTableSlot *row)
{
	ExprContext *econtext = GetPerTupleExprContext(constraints->estate);
	ListCell   *lc;

	econtext->ecxt_scantuple = row;
	foreach(lc, constraints->generated)
	{
		GeneratedColumn *column = lfirst(lc);
		bool		isnull;
		Datum		value = ExecEvalExprSwitchContext(column->state, econtext, &isnull);

		row->tts_values[column->attnum - 1] = value;
		row->tts_isnull[column->attnum - 1] = isnull;
	}
	foreach(lc, constraints->checks)
	{
		NamedCheck *check = lfirst(lc);

		if (!ExecCheck(check->state, econtext))
			ereport(ERROR,
					errcode(ERRCODE_CHECK_VIOLATION),
					errmsg("new row for relation \"%s\" violates check constraint \"%s\"",
						   RelationGetRelationName(constraints->rel), check->name),
					errtableconstraint(constraints->rel, check->name));
	}
}

/*
 * Check the row after it was stored: its foreign keys, and the unique indexes
 * that left their check for later because they are deferrable.
 */
void
zdm_constraints_after(ZdmConstraints *constraints, TupleTableSlot *before,
					  TupleTableSlot *row, List *recheck)
{
	ListCell   *lc;

	foreach(lc, recheck)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		written = false;

		for (int i = 0; i < IndexRelationGetNumberOfKeyAttributes(index); i++)
			written |= index->rd_index->indkey.values[i] == 0 ||
				bms_is_member(index->rd_index->indkey.values[i] - FirstLowInvalidHeapAttributeNumber,
							  constraints->written);
		if (written)
			ereport(ERROR,
					errcode(ERRCODE_UNIQUE_VIOLATION),
					errmsg("duplicate key value violates unique constraint \"%s\"",
						   RelationGetRelationName(index)),
					errtable(constraints->rel));
		index_close(index, AccessShareLock);
	}
	if (constraints->foreign_keys)
	{
		AfterTriggerBeginQuery();
		ExecARUpdateTriggers(constraints->estate, constraints->relinfo, NULL, NULL,
							 NULL, ExecCopySlotHeapTuple(before), row, NIL, NULL, false);
		AfterTriggerEndQuery(constraints->estate);
		ExecClearTuple(constraints->relinfo->ri_TrigOldSlot);
		ExecClearTuple(constraints->relinfo->ri_TrigNewSlot);
	}
}

/*
 * A row failed, and its subtransaction is rolled back: with it went the
 * buffers that the triggers' slots think they hold.
 */
void
zdm_constraints_failed(ZdmConstraints *constraints)
{
	if (!constraints->foreign_keys)
		return;
	drop_trigger_slot(constraints, &constraints->relinfo->ri_TrigOldSlot);
	drop_trigger_slot(constraints, &constraints->relinfo->ri_TrigNewSlot);
	make_trigger_slots(constraints);
}

static void
drop_trigger_slot(ZdmConstraints *constraints, TupleTableSlot **slot)
{
	EState	   *estate = constraints->estate;

	estate->es_tupleTable = list_delete_ptr(estate->es_tupleTable, *slot);
	ReleaseTupleDesc((*slot)->tts_tupleDescriptor);
	*slot = NULL;
}
