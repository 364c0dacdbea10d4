/*-------------------------------------------------------------------------
 *
 * mirror_insert.c
 *	  A row of a second table is inserted into the first one before.
 *
 * Where each row of either table has one in the other, two that insert the same
 * key at once, one into each, would both have it, and each wait for the
 * other's.  There is no row yet to be locked first.  So the row is inserted
 * into the first table from a BEFORE ROW trigger of the second: whoever comes
 * later waits there for the first table's key, with nothing in his hands.
 * Where it is taken, nothing is inserted, and the statement meets the second
 * table's key, as it would without us: with an error, or by ON CONFLICT.  (Up
 * to the end of the backfill that one may lack the row; then the first's key
 * is the error.)
 *
 * An upsert that meets another key than that of the rule, and is to update the
 * row that has it, would have that row before the first table's.  So the first
 * table's is locked before, of each row here that it may meet by one of its
 * unique keys; but for those with expressions.
 *
 * That must hold the other way round, too: where ON CONFLICT lets the second
 * table go without the row, the first must not have it.  A statement with ON
 * CONFLICT does all that only where each key of the second table is one of the
 * first; else it inserts the row there afterwards.
 *
 * A row that comes from another partition is not a new one: the first table's
 * row follows it afterwards, with all that refers to it.
 *
 * What a trigger of the application makes of the row in the first table is
 * taken over before the second has it.  Up to then that table's own trigger
 * has nothing to do (zdm_mirror_is_echo).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_index.h"
#include "catalog/pg_trigger.h"
#include "nodes/plannodes.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "sync/mirror.h"
#include "sync/written.h"
#include "util/compat.h"
#include "util/ident.h"

/*
 * The row that is in the way of ours may have gone when we want to lock it.
 * Where it stays away, another key is in the way, which the statement meets.
 */
#define ATTEMPTS	3

static HeapTuple put(ZdmMirror *mirror, TupleTableSlot *slot, Relation rel, HeapTuple tuple);
static bool has_triggers(Relation rel);
static bool has_immediate_keys(Relation rel);
static bool lock_met(ZdmMirror *mirror, const ZdmMirrorRow *row);
static bool meets_other_key(const ZdmMirror *mirror);
static List *running_plans(void);
static bool may_skip_rows(void);
static List *columns_of(const ZdmMirror *mirror, Relation index);
static bool has_keys_of(Relation there, Relation rel);
static bool is_stricter(Relation key, Relation index);
static HeapTuple taken_over(const ZdmMirror *mirror, const ZdmMirrorRow *now,
							Relation rel, HeapTuple tuple);

/*
 * Before a row is inserted into a second table.  Returns the row as it is to
 * be.
 */
HeapTuple
zdm_mirror_before_insert(TriggerData *trigdata)
{
	ZdmMirrorSet *set = zdm_mirrors_get(trigdata->tg_relation);
	int			held = zdm_rules_hold();
	HeapTuple	tuple = trigdata->tg_trigtuple;
	bool		moving = zdm_mirror_is_moving();

	for (int i = 0; i < set->count; i++)
	{
		ZdmMirror  *mirror = &set->mirrors[i];
		ZdmMirrorRow row;

		if (mirror->is_first || zdm_mirror_is_written(mirror))
			continue;
		zdm_mirror_take(mirror, trigdata->tg_trigslot, &row);
		if (zdm_mirror_has_null(&row, 0, mirror->keys))
			continue;
		if (mirror->optional > 0 || moving)
			(void) lock_met(mirror, &row);
		else
			tuple = put(mirror, trigdata->tg_trigslot, trigdata->tg_relation, tuple);
	}
	zdm_rules_release(held);
	return tuple;
}

/*
 * Whether the first table has the row that has come into the second, because
 * it was put there before.
 */
bool
zdm_mirror_is_put(ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	ZdmMirrorRow now = {
		.values = palloc_array(Datum, mirror->count),
		.nulls = palloc_array(char, mirror->count),
	};

	memcpy(now.values, row->values, sizeof(Datum) * mirror->count);
	memcpy(now.nulls, row->nulls, mirror->count);
	return zdm_mirror_lookup(mirror, &now, InvalidSnapshot) &&
		zdm_mirror_same(mirror, &now, row, mirror->keys, mirror->count);
}

/*
 * Put the row there, or lock the one that is there.  Mostly there is none, and
 * it is not looked for; but where the statement expects one, an attempt would
 * leave a dead row behind, and the application's triggers are not to fire for a
 * row that is not inserted.
 */
static HeapTuple
put(ZdmMirror *mirror, TupleTableSlot *slot, Relation rel, HeapTuple tuple)
{
	Relation	there = table_open(mirror->there, RowExclusiveLock);
	bool		skips = may_skip_rows();
	bool		possible = has_immediate_keys(there) && (!skips || has_keys_of(there, rel));
	bool		observed = has_triggers(there);
	bool		is_put = false;
	ZdmMirrorRow row;
	ZdmMirrorRow now;

	table_close(there, NoLock);
	zdm_mirror_take(mirror, slot, &row);
	for (int attempt = 0; attempt < ATTEMPTS && !is_put; attempt++)
	{
		is_put = possible && (attempt > 0 || (!observed && !skips)) &&
			zdm_mirror_do(mirror, ZDM_MIRROR_PUT, &row, NULL) > 0;
		if (!is_put && (lock_met(mirror, &row) || !possible))
			return tuple;
	}
	if (!is_put || !observed)
		return tuple;
	zdm_mirror_take(mirror, slot, &now);
	if (zdm_mirror_lookup(mirror, &now, InvalidSnapshot) &&
		!zdm_mirror_same(mirror, &now, &row, mirror->keys, mirror->count))
		return taken_over(mirror, &now, rel, tuple);
	return tuple;
}

/*
 * Whether the application has row triggers on it.
 */
static bool
has_triggers(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;
	bool		result = false;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		result |= !trigger->tgisinternal && TRIGGER_FOR_ROW(trigger->tgtype) &&
			trigger->tgenabled != TRIGGER_DISABLED &&
			strncmp(trigger->tgname, ZDM_MIRROR_TRIGGER, strlen(ZDM_MIRROR_TRIGGER)) != 0;
	}
	return result;
}

/*
 * ON CONFLICT refuses a table with a deferrable key.
 */
static bool
has_immediate_keys(Relation rel)
{
	bool		result = true;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

		result &= index->rd_index->indimmediate;
		index_close(index, NoLock);
	}
	return result;
}

/*
 * Lock the first table's row that the row may meet, and return whether there
 * is one.  That is one row alone: whoever locks two has them in some order.
 */
static bool
lock_met(ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	return (mirror->has_rivals && meets_other_key(mirror) &&
			zdm_mirror_do(mirror, ZDM_MIRROR_LOCK_RIVALS, row, NULL) > 0) ||
		zdm_mirror_do(mirror, ZDM_MIRROR_LOCK, row, NULL) > 0;
}

/*
 * Whether the statement updates the row that it meets by another key than the
 * rule's.
 */
static bool
meets_other_key(const ZdmMirror *mirror)
{
	ListCell   *plan,
			   *lc,
			   *column;
	bool		result = false;

	foreach(plan, running_plans())
	{
		ModifyTable *modify = lfirst(plan);

		if (modify == NULL || !IsA(modify, ModifyTable) ||
			modify->onConflictAction != ONCONFLICT_UPDATE)
			continue;
		foreach(lc, modify->arbiterIndexes)
		{
			Relation	index = index_open(lfirst_oid(lc), AccessShareLock);

			foreach(column, columns_of(mirror, index))
				result |= lfirst_int(column) >= mirror->keys;
			index_close(index, AccessShareLock);
		}
	}
	return result;
}

/*
 * Those of the statement that inserts the row; NIL where it is not known, as
 * for COPY.
 */
static List *
running_plans(void)
{
	ZdmRunning *statement = zdm_firing_statement();

	if (statement == NULL)
		return NIL;
	return lcons(statement->desc->plannedstmt->planTree,
				 list_copy(statement->desc->plannedstmt->subplans));
}

/*
 * The unique keys of the table here besides the rule's: for each the numbers
 * of its columns in the rule (an integer list).
 */
List *
zdm_mirror_other_keys(const ZdmMirror *mirror)
{
	Relation	here = table_open(mirror->here, AccessShareLock);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(here))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		List	   *columns = index->rd_index->indisunique ? columns_of(mirror, index) : NIL;
		bool		others = false;
		ListCell   *column;

		foreach(column, columns)
			others |= lfirst_int(column) >= mirror->keys;
		if (others)
			result = lappend(result, columns);
		index_close(index, AccessShareLock);
	}
	table_close(here, NoLock);
	return result;
}

/*
 * NIL where there is one that the rule does not know.
 */
static List *
columns_of(const ZdmMirror *mirror, Relation index)
{
	List	   *result = NIL;

	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		char	   *name = attnum == 0 ? NULL : get_attname(index->rd_index->indrelid, attnum, false);
		int			column = 0;

		while (name != NULL && column < mirror->count &&
			   strcmp(mirror->columns[column].name, name) != 0)
			column++;
		if (name == NULL || column == mirror->count)
			return NIL;
		result = lappend_int(result, column);
	}
	return result;
}

/*
 * Whether the statement that inserts the row may leave it out.
 */
static bool
may_skip_rows(void)
{
	List	   *plans = running_plans();
	ListCell   *lc;

	foreach(lc, plans)
	{
		if (lfirst(lc) != NULL && IsA(lfirst(lc), ModifyTable) &&
			((ModifyTable *) lfirst(lc))->onConflictAction != ONCONFLICT_NONE)
			return true;
	}
	return plans == NIL;
}

/*
 * Whether rows that differ by the keys of one table, there, differ by those of
 * the other, too.
 */
static bool
has_keys_of(Relation there, Relation rel)
{
	bool		result = true;
	ListCell   *lc,
			   *other;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		found = !index->rd_index->indisunique && !index->rd_index->indisexclusion;

		foreach(other, found ? NIL : RelationGetIndexList(there))
		{
			Relation	key = index_open(lfirst_oid(other), AccessShareLock);

			found |= is_stricter(key, index);
			index_close(key, NoLock);
		}
		index_close(index, NoLock);
		result &= found;
	}
	return result;
}

/*
 * Whether a unique index is one of the other's columns, or of fewer.
 */
static bool
is_stricter(Relation key, Relation index)
{
	Form_pg_index a = key->rd_index;
	Form_pg_index b = index->rd_index;

	if (!a->indisunique || !b->indisunique || (b->indnullsnotdistinct && !a->indnullsnotdistinct) ||
		!heap_attisnull(key->rd_indextuple, Anum_pg_index_indexprs, NULL) ||
		!heap_attisnull(key->rd_indextuple, Anum_pg_index_indpred, NULL) ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL))
		return false;
	for (int i = 0; i < a->indnkeyatts; i++)
	{
		char	   *name = get_attname(a->indrelid, a->indkey.values[i], false);
		bool		found = false;

		for (int j = 0; j < b->indnkeyatts; j++)
			found |= strcmp(name, get_attname(b->indrelid, b->indkey.values[j], false)) == 0;
		if (!found)
			return false;
	}
	return true;
}

static HeapTuple
taken_over(const ZdmMirror *mirror, const ZdmMirrorRow *now, Relation rel, HeapTuple tuple)
{
	int			count = mirror->count - mirror->keys;
	int		   *columns = palloc_array(int, count);
	bool	   *nulls = palloc_array(bool, count);

	for (int i = 0; i < count; i++)
	{
		columns[i] = mirror->columns[mirror->keys + i].attnum;
		nulls[i] = now->nulls[mirror->keys + i] == 'n';
	}
	return heap_modify_tuple_by_cols(tuple, RelationGetDescr(rel), count, columns,
									 now->values + mirror->keys, nulls);
}
