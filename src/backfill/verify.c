/*-------------------------------------------------------------------------
 *
 * verify.c
 *	  Proof that old and new shape hold the same.
 *
 * For every row and rule: new = up(old), or old = down(new).  One of them is
 * enough, because neither expression needs to be invertible: a value that the
 * new version wrote need not be what up would have made.  Values are compared
 * with the type's own equality, where it has one, else by their binary image.
 *
 * Each row is compared with itself, so the rows need not come from one
 * snapshot, and a large table can be verified in pieces.  Of two tables, rows
 * of both are looked at (mirror_row.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/typcache.h"

#include "backfill/batch.h"
#include "backfill/verify.h"
#include "catalog/mirror_rule.h"
#include "catalog/sync_rule.h"
#include "schema/relation.h"
#include "sync/fill.h"
#include "sync/mirror.h"
#include "sync/row_sync.h"
#include "sync/rule.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

typedef struct Comparison
{
	ZdmRuleSet *set;
	ZdmRule    *rule;
	TupleTableSlot *row;
	bool		equal;
	bool		possible;		/* that a backfill makes it so */
} Comparison;

static char *check_label(ZdmMigration *migration, Relation rel);
static bool row_matches(ZdmRuleSet *set, const char *migration,
						TupleTableSlot *row);
static bool is_unfilled(ZdmRuleSet *set, const char *migration,
						TupleTableSlot *row);
static void compare_new(void *arg);
static void compare_old(void *arg);
static void compare_fill(void *arg);
static void look_at_fill(void *arg);
static bool side_equal(const ZdmSide *side, ZdmRuleSet *set,
					   TupleTableSlot *row);

/*
 * Compare all rows of a migration's tables: one result row for each table.
 */
void
zdm_verify_tables(ZdmMigration *migration, Tuplestorestate *store,
				  TupleDesc desc)
{
	ListCell   *lc;

	foreach(lc, list_concat(zdm_synced_storage(migration), zdm_mirrored_storage(migration)))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		char	   *check = check_label(migration, rel);
		ZdmVerification found = {0};
		Datum		values[5];
		bool		nulls[5] = {false};

		zdm_verify_blocks(migration, rel, 0, RelationGetNumberOfBlocks(rel), 0, &found);
		values[0] = CStringGetTextDatum(check);
		values[1] = ObjectIdGetDatum(lfirst_oid(lc));
		values[2] = Int64GetDatum(found.rows);
		values[3] = Int64GetDatum(found.mismatches);
		values[4] = zdm_arg_texts(found.sample).value;
		tuplestore_putvalues(store, desc, values, nulls);
		table_close(rel, AccessShareLock);
	}
}

/*
 * What is compared in a table: the sides of the migration's rules on it.
 */
static char *
check_label(ZdmMigration *migration, Relation rel)
{
	Oid			relid = zdm_root_table(RelationGetRelid(rel));
	StringInfoData label;
	ListCell   *lc;

	initStringInfo(&label);
	foreach(lc, migration->rules)
	{
		ZdmSyncRule *rule = lfirst(lc);

		if (rule->relation != relid)
			continue;
		appendStringInfo(&label, "%s%s", label.len ? ", " : "",
						 zdm_names_text(rule->new_columns));
		if (rule->kind == ZDM_RULE_SYNC)
			appendStringInfo(&label, " = %s", zdm_names_text(rule->old_columns));
		else if (rule->kind == ZDM_RULE_COMPUTE)
			appendStringInfo(&label, " = %s", (char *) linitial(rule->up));
		else
			appendStringInfoString(&label, rule->kind == ZDM_RULE_FILL ? " is not null" : " is filled");
	}
	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		if (rule->first == relid)
			appendStringInfo(&label, "%s%s = table \"%s\"", label.len ? ", " : "",
							 zdm_names_text(rule->first_columns), get_rel_name(rule->second));
		else if (rule->second == relid)
			appendStringInfo(&label, "%sis in table \"%s\"", label.len ? ", " : "",
							 get_rel_name(rule->first));
	}
	return label.data;
}

/*
 * Compare the rows in blocks [first, end) of a table, as its owner, and add
 * to the result.  Stops at a block's end after budget_ms (0: does not).  The
 * caller has an active snapshot and a lock on the table.
 */
void
zdm_verify_blocks(ZdmMigration *migration, Relation rel, int64 first,
				  int64 end, double budget_ms, ZdmVerification *result)
{
	MemoryContext result_cxt = CurrentMemoryContext;
	MemoryContext row_cxt;
	TupleTableSlot *row;
	ZdmRuleSet *set = NULL;
	ItemPointerData from,
				to;
	TableScanDesc scan;
	ZdmIdentity saved;
	BlockNumber block = (BlockNumber) first;
	ZdmMirrorSet *mirrors = NULL;
	ZdmMirrorLook **looks = NULL;
	int			held;
	instr_time	start,
				now;

	INSTR_TIME_SET_CURRENT(start);
	result->reached = end;
	if (first >= end)
		return;
	row_cxt = AllocSetContextCreate(result_cxt, "zdm verified row",
									ALLOCSET_DEFAULT_SIZES);
	row = table_slot_create(rel, NULL);
	zdm_become(zdm_table_owner(RelationGetRelid(rel)), &saved);
	held = zdm_rules_hold();
	if (migration->mirrors != NIL)
	{
		mirrors = zdm_mirrors_of_migration(rel, migration->name);
		looks = zdm_mirror_looks_begin(mirrors, migration->name);
	}
	else
		set = zdm_rules_of_migration(rel, migration->name);
	ItemPointerSet(&from, (BlockNumber) first, FirstOffsetNumber);
	ItemPointerSet(&to, (BlockNumber) (end - 1), MaxOffsetNumber);
	scan = zdm_beginscan_tidrange(rel, GetActiveSnapshot(), &from, &to);
	while (table_scan_getnextslot_tidrange(scan, ForwardScanDirection, row))
	{
		BlockNumber here = ItemPointerGetBlockNumber(&row->tts_tid);
		bool		matches,
					unfilled;

		if (here != block)
		{
			CHECK_FOR_INTERRUPTS();
			INSTR_TIME_SET_CURRENT(now);
			INSTR_TIME_SUBTRACT(now, start);
			if ((budget_ms > 0 && INSTR_TIME_GET_MILLISEC(now) > budget_ms) ||
				(result->collect && list_length(result->unfilled) >= result->most_unfilled))
			{
				result->reached = here;
				break;
			}
			block = here;
		}
		result->rows++;
		MemoryContextReset(row_cxt);
		MemoryContextSwitchTo(row_cxt);
		unfilled = false;
		matches = set != NULL ? row_matches(set, migration->name, row)
			: zdm_mirror_matches(mirrors, migration->name, looks, row, &unfilled);
		if (!matches)
		{
			if (set != NULL && result->collect)
				unfilled = is_unfilled(set, migration->name, row);
			MemoryContextSwitchTo(result_cxt);
			if (result->collect && unfilled)
			{
				ItemPointer tid = palloc_object(ItemPointerData);

				ItemPointerCopy(&row->tts_tid, tid);
				result->unfilled = lappend(result->unfilled, tid);
				continue;
			}
			result->mismatches++;
			if (list_length(result->sample) < ZDM_VERIFY_SAMPLE)
				result->sample = lappend(result->sample, zdm_row_key(rel, row));
		}
		MemoryContextSwitchTo(result_cxt);
	}
	table_endscan(scan);
	if (looks != NULL)
		zdm_mirror_looks_end(mirrors, looks);
	zdm_rules_release(held);
	zdm_unbecome(&saved);
	ExecDropSingleTupleTableSlot(row);
	MemoryContextDelete(row_cxt);
}

/*
 * Whether a row that does not match is one that the backfill has still to
 * fill, or that it cannot fill: it will say so.
 */
static bool
is_unfilled(ZdmRuleSet *set, const char *migration, TupleTableSlot *row)
{
	for (int i = 0; i < set->count; i++)
	{
		Comparison	comparison = {.set = set,.rule = &set->rules[i],.row = row,.possible = true};
		ErrorData  *error;

		if (strcmp(comparison.rule->migration, migration) != 0)
			continue;
		if (comparison.rule->kind != ZDM_RULE_SYNC)
			(void) zdm_attempt(look_at_fill, &comparison, &error);
		else
			comparison.possible = zdm_side_is_null(&comparison.rule->new, row);
		if (!comparison.possible)
			return false;
	}
	return true;
}

/*
 * An expression that fails proves nothing, so it does not match; the one that
 * is only copied cannot fail and needs no subtransaction.
 */
static bool
row_matches(ZdmRuleSet *set, const char *migration, TupleTableSlot *row)
{
	for (int i = 0; i < set->count; i++)
	{
		Comparison	comparison = {.set = set,.rule = &set->rules[i],.row = row};
		ErrorData  *error;
		bool		plain = true;

		if (strcmp(comparison.rule->migration, migration) != 0)
			continue;
		if (comparison.rule->kind != ZDM_RULE_SYNC)
		{
			/* Only a computed column has anything computed for that. */
			if (comparison.rule->kind == ZDM_RULE_COMPUTE)
				(void) zdm_attempt(compare_fill, &comparison, &error);
			else
				compare_fill(&comparison);
			if (!comparison.equal)
				return false;
			continue;
		}
		for (int j = 0; j < comparison.rule->new.count; j++)
			plain &= comparison.rule->new.columns[j].value.expression == NULL;
		if (plain)
			compare_new(&comparison);
		else
			(void) zdm_attempt(compare_new, &comparison, &error);
		if (!comparison.equal)
			(void) zdm_attempt(compare_old, &comparison, &error);
		if (!comparison.equal)
			return false;
	}
	return true;
}

static void
compare_new(void *arg)
{
	Comparison *comparison = arg;

	comparison->equal = side_equal(&comparison->rule->new, comparison->set,
								   comparison->row);
}

static void
compare_old(void *arg)
{
	Comparison *comparison = arg;

	comparison->equal = side_equal(&comparison->rule->old, comparison->set,
								   comparison->row);
}

static void
compare_fill(void *arg)
{
	Comparison *comparison = arg;

	comparison->equal = zdm_fill_satisfied(comparison->rule, comparison->set,
										   comparison->row);
}

static void
look_at_fill(void *arg)
{
	Comparison *comparison = arg;

	comparison->possible = zdm_fill_satisfied(comparison->rule, comparison->set, comparison->row) ||
		zdm_fill_possible(comparison->rule, comparison->set, comparison->row);
}

static bool
side_equal(const ZdmSide *side, ZdmRuleSet *set, TupleTableSlot *row)
{
	TupleDesc	desc = row->tts_tupleDescriptor;

	if (zdm_side_matches(side, set, row))
		return true;
	for (int i = 0; i < side->count; i++)
	{
		const ZdmColumn *column = &side->columns[i];
		Form_pg_attribute attr = TupleDescAttr(desc, column->attnum - 1);
		TypeCacheEntry *type = lookup_type_cache(attr->atttypid, TYPECACHE_EQ_OPR_FINFO);
		Datum		is,
					should;
		bool		is_null,
					should_null;

		is = slot_getattr(row, column->attnum, &is_null);
		should = zdm_value_compute(&column->value, set, row, &should_null);
		if (is_null != should_null)
			return false;
		if (is_null)
			continue;
		if (!OidIsValid(type->eq_opr_finfo.fn_oid) ||
			!DatumGetBool(FunctionCall2Coll(&type->eq_opr_finfo, attr->attcollation,
											is, should)))
			return false;
	}
	return true;
}

/*
 * How many rows of a table, with its partitions, hold NULL in a column, and
 * the keys (char *) of the first of them.
 */
int64
zdm_null_rows(Oid relid, const char *column, List **sample)
{
	int64		result = 0;
	ListCell   *lc;

	*sample = NIL;
	foreach(lc, zdm_storage_relations(relid))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	attnum = get_attnum(lfirst_oid(lc), column);
		TupleTableSlot *row = table_slot_create(rel, NULL);
		TableScanDesc scan = zdm_beginscan(rel, GetActiveSnapshot());

		while (table_scan_getnextslot(scan, ForwardScanDirection, row))
		{
			bool		isnull;

			CHECK_FOR_INTERRUPTS();
			(void) slot_getattr(row, attnum, &isnull);
			if (isnull && result++ < ZDM_VERIFY_SAMPLE)
				*sample = lappend(*sample, zdm_row_key(rel, row));
		}
		table_endscan(scan);
		ExecDropSingleTupleTableSlot(row);
		table_close(rel, NoLock);
	}
	return result;
}
