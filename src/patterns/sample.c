/*-------------------------------------------------------------------------
 *
 * sample.c
 *	  Rows that a conversion fails on, found in a sample of a table.
 *
 * A dry run must not read a table of any size.  So it looks at a bounded
 * number of blocks, spread over the table, and says how many; zdm.verify
 * compares all rows, once there is a second column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "backfill/batch.h"
#include "patterns/sample.h"
#include "schema/relation.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

#define MOST_BLOCKS	256

typedef struct Sample
{
	ZdmSyncRule *rule;
	List	   *types;			/* of the new columns: ZdmType * */
	Relation	rel;
	List	   *up;				/* of ExprState * */
	ExprContext *context;
	TupleTableSlot *row;
	BlockNumber blocks;			/* looked at */
	BlockNumber total;
	int64		rows;
	int64		failed;
	char	   *first;			/* of them, with the reason */
} Sample;

static void look_at_table(Sample *sample, BlockNumber most);
static List *prepare(Sample *sample, EState *estate);
static void look_at_block(Sample *sample, BlockNumber block);
static void evaluate(void *arg);

/*
 * What is to be said about rows whose new value cannot be made; NULL where
 * none was found.
 */
char *
zdm_conversion_sample(ZdmSyncRule *rule, List *types)
{
	Sample		sample = {.rule = rule,.types = types};
	List	   *relids = zdm_storage_relations(rule->relation);
	BlockNumber most = Max(1, MOST_BLOCKS / Max(1, list_length(relids)));
	ListCell   *lc;

	foreach(lc, relids)
	{
		ZdmIdentity saved;

		sample.rel = table_open(lfirst_oid(lc), AccessShareLock);
		zdm_become(sample.rel->rd_rel->relowner, &saved);
		look_at_table(&sample, most);
		zdm_unbecome(&saved);
		table_close(sample.rel, AccessShareLock);
	}
	if (sample.failed == 0)
		return NULL;
	return psprintf(INT64_FORMAT " of " INT64_FORMAT " rows in a sample of table \"%s\" (%u of %u blocks) cannot be converted, the first: %s",
					sample.failed, sample.rows, zdm_relation_label(rule->relation),
					sample.blocks, sample.total, sample.first);
}

static void
look_at_table(Sample *sample, BlockNumber most)
{
	BlockNumber total = RelationGetNumberOfBlocks(sample->rel);
	BlockNumber count = Min(total, most);
	EState	   *estate = CreateExecutorState();

	sample->context = GetPerTupleExprContext(estate);
	sample->up = prepare(sample, estate);
	sample->row = table_slot_create(sample->rel, NULL);
	for (BlockNumber i = 0; i < count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		look_at_block(sample, (BlockNumber) ((uint64) i * total / count));
	}
	ExecDropSingleTupleTableSlot(sample->row);
	FreeExecutorState(estate);
	sample->blocks += count;
	sample->total += total;
}

static List *
prepare(Sample *sample, EState *estate)
{
	List	   *result = NIL;
	ListCell   *name,
			   *text,
			   *type;

	forthree(name, sample->rule->new_columns, text, sample->rule->up, type, sample->types)
	{
		TupleDesc	desc = zdm_description_with(RelationGetDescr(sample->rel),
												lfirst(name), lfirst(type));
		Node	   *expr = zdm_expression_parse_as(desc, lfirst(text), "up",
												   (AttrNumber) desc->natts);

		result = lappend(result, ExecPrepareExpr((Expr *) expr, estate));
	}
	return result;
}

static void
look_at_block(Sample *sample, BlockNumber block)
{
	ItemPointerData first,
				last;
	TableScanDesc scan;
	ErrorData  *error;

	ItemPointerSet(&first, block, FirstOffsetNumber);
	ItemPointerSet(&last, block, MaxOffsetNumber);
	scan = zdm_beginscan_tidrange(sample->rel, GetActiveSnapshot(), &first, &last);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, sample->row))
	{
		sample->rows++;
		if (zdm_attempt(evaluate, sample, &error))
			continue;
		if (sample->failed++ == 0)
			sample->first = psprintf("%s: %s", zdm_row_key(sample->rel, sample->row),
									 error->message);
		FreeErrorData(error);
	}
	table_endscan(scan);
}

static void
evaluate(void *arg)
{
	Sample	   *sample = arg;
	ListCell   *lc;

	ResetExprContext(sample->context);
	sample->context->ecxt_scantuple = sample->row;
	foreach(lc, sample->up)
	{
		bool		isnull;

		(void) ExecEvalExprSwitchContext(lfirst(lc), sample->context, &isnull);
	}
}
