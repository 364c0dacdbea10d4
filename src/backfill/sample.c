/*-------------------------------------------------------------------------
 *
 * sample.c
 *	  Which rows an expression will fail on, from a look at some.
 *
 * Looks at blocks that are spread evenly over a table, so few that it takes
 * no longer than a catalog query.  It proves nothing: the backfill meets every
 * row, and reports those that fail by key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "backfill/batch.h"
#include "backfill/sample.h"
#include "schema/new_column.h"
#include "schema/table.h"
#include "sync/expression.h"
#include "sync/rule.h"
#include "util/compat.h"
#include "util/spi.h"

/* How much is looked at, of all partitions together. */
#define MOST_BLOCKS	32
#define MOST_ROWS	1000

typedef struct Look
{
	Relation	rel;
	List	   *values;			/* of ZdmValue * */
	TupleTableSlot *row;
	MemoryContext row_cxt;
	ZdmSample  *result;
} Look;

static void look_at(Relation rel, List *columns, List *texts, int blocks,
					ZdmSample *result);
static List *compile(Relation rel, List *columns, List *texts);
static void look_at_block(Look *look, BlockNumber block);
static void compute(void *arg);

/*
 * Compute the expressions (qualified SQL) of columns that are to be added
 * (ZdmNewColumn *) on some rows of the table, as its owner.
 */
void
zdm_sample_rows(Oid relid, List *columns, List *texts, ZdmSample *result)
{
	List	   *relids = zdm_storage_relations(relid);
	int			blocks = Max(1, MOST_BLOCKS / Max(1, list_length(relids)));
	ListCell   *lc;

	foreach(lc, relids)
	{
		Relation	rel;

		if (result->rows >= MOST_ROWS || foreach_current_index(lc) >= MOST_BLOCKS)
			break;
		rel = table_open(lfirst_oid(lc), AccessShareLock);
		look_at(rel, columns, texts, blocks, result);
		table_close(rel, AccessShareLock);
	}
}

static void
look_at(Relation rel, List *columns, List *texts, int blocks,
		ZdmSample *result)
{
	BlockNumber size = RelationGetNumberOfBlocks(rel);
	Look		look = {.rel = rel,.result = result};
	ZdmIdentity saved;

	look.row = table_slot_create(rel, NULL);
	look.row_cxt = AllocSetContextCreate(CurrentMemoryContext, "zdm sampled row",
										 ALLOCSET_DEFAULT_SIZES);
	zdm_become(zdm_table_owner(RelationGetRelid(rel)), &saved);
	zdm_pin_style();
	look.values = compile(rel, columns, texts);
	PushActiveSnapshot(GetTransactionSnapshot());
	for (int i = 0; i < blocks && (BlockNumber) i < size && result->rows < MOST_ROWS; i++)
		look_at_block(&look, size <= (BlockNumber) blocks ? (BlockNumber) i
					  : (BlockNumber) ((uint64) i * size / blocks));
	PopActiveSnapshot();
	zdm_unbecome(&saved);
	ExecDropSingleTupleTableSlot(look.row);
	MemoryContextDelete(look.row_cxt);
}

static List *
compile(Relation rel, List *columns, List *texts)
{
	Relation	later = zdm_relation_with(rel, columns);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, texts)
	{
		ZdmValue   *value = palloc0_object(ZdmValue);
		AttrNumber	target = RelationGetDescr(rel)->natts + foreach_current_index(lc) + 1;
		Node	   *expr = zdm_expression_parse(later, lfirst(lc), "up", target);

		value->state = ExecInitExpr(expression_planner((Expr *) expr), NULL);
		result = lappend(result, value);
	}
	return result;
}

static void
look_at_block(Look *look, BlockNumber block)
{
	ItemPointerData from,
				to;
	TableScanDesc scan;

	ItemPointerSet(&from, block, FirstOffsetNumber);
	ItemPointerSet(&to, block, MaxOffsetNumber);
	scan = zdm_beginscan_tidrange(look->rel, GetActiveSnapshot(), &from, &to);
	while (look->result->rows < MOST_ROWS &&
		   table_scan_getnextslot_tidrange(scan, ForwardScanDirection, look->row))
	{
		ErrorData  *error;

		CHECK_FOR_INTERRUPTS();
		look->result->rows++;
		if (!zdm_attempt(compute, look, &error))
		{
			if (look->result->failed++ == 0)
			{
				look->result->key = zdm_row_key(look->rel, look->row);
				look->result->message = pstrdup(error->message);
			}
			FreeErrorData(error);
		}
	}
	table_endscan(scan);
}

static void
compute(void *arg)
{
	Look	   *look = arg;
	MemoryContext old;
	ListCell   *lc;

	MemoryContextReset(look->row_cxt);
	old = MemoryContextSwitchTo(look->row_cxt);
	foreach(lc, look->values)
	{
		bool		isnull;

		(void) zdm_value_compute(lfirst(lc), NULL, look->row, &isnull);
	}
	MemoryContextSwitchTo(old);
}
