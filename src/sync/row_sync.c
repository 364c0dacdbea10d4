/*-------------------------------------------------------------------------
 *
 * row_sync.c
 *	  The trigger ~zdm_sync: applies a table's sync rules to a row.
 *
 * For each rule: find out which side the statement wrote (decision.c), and
 * compute the other one from it.
 *
 * With several rules the row goes through them until nothing changes any
 * more, each applied at most once; what a rule has written counts as written
 * for the others.  Of a chain (a to b, b to c) the newest link comes first, so
 * that the newest version wins all the way.  What nobody wrote (a default, a
 * row not yet backfilled) is looked at only when no other rule has anything to
 * say.
 *
 * Rules that fill or compute a column (fill.c) come last: once nothing else
 * changes any more, a NULL that is left is filled, which the other rules then
 * see as they see everything that was written, and in the end what is computed
 * is computed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "sync/arbiter.h"
#include "sync/decision.h"
#include "sync/fill.h"
#include "sync/row_sync.h"
#include "util/spi.h"

/* What is looked at in one go through the rules; each after the ones above. */
typedef enum Stage
{
	WRITTEN,
	DEFAULTS,
	FILLS,
	COMPUTED
} Stage;

typedef struct DefaultAttempt
{
	ZdmRowUnderWay *way;
	ZdmSide    *side;
	bool		changed;
} DefaultAttempt;

static void apply_rules(ZdmRowUnderWay *way);
static bool is_partial(ZdmRowUnderWay *way, const ZdmRule *rule);
static void fill_rest(ZdmRowUnderWay *way, ZdmRule *rule);
static ZdmDecision decide(ZdmRowUnderWay *way, ZdmRule *rule, Stage stage);
static void note_settled(ZdmRowUnderWay *way, const ZdmSide *side);
static bool apply_default(ZdmRowUnderWay *way, ZdmSide *side);
static void note_unfilled(ZdmRowUnderWay *way, const ZdmSide *side);
static void attempt_default(void *arg);
static void sync_error(void *arg);
static bool apply(ZdmRowUnderWay *way, ZdmSide *side);
static void set_column(ZdmRowUnderWay *way, AttrNumber attnum, Datum value,
					   bool isnull);
static void form_whole(ZdmRowUnderWay *way);
static HeapTuple result_tuple(ZdmRowUnderWay *way, HeapTuple tuple);

/*
 * The trigger's work: the tuple to store, in the current memory context, or
 * the one that was given where nothing is to be changed.
 */
HeapTuple
zdm_row_sync(TriggerData *trigdata)
{
	bool		update = TRIGGER_FIRED_BY_UPDATE(trigdata->tg_event);
	HeapTuple	tuple = update ? trigdata->tg_newtuple : trigdata->tg_trigtuple;
	ZdmRuleSet *set;
	ZdmRowUnderWay way = {
		.rel = trigdata->tg_relation,
		.before = update ? trigdata->tg_trigslot : NULL,
		.row = update ? trigdata->tg_newslot : trigdata->tg_trigslot,
		.updated_cols = update ? trigdata->tg_updatedcols : NULL,
	};

	/* May itself look at rules; so before we hold any. */
	if (!update)
		zdm_arbiters_widen(trigdata->tg_relation);
	set = way.set = zdm_rules_get(trigdata->tg_relation);
	if (set->count == 0)
		return tuple;
	if (!update && set->has_sync)
		zdm_written_by_insert(trigdata->tg_relation, set->ancestors,
							  &way.written);
	apply_rules(&way);
	if (!update && set->has_others && !way.modified)
		form_whole(&way);
	if (way.unfilled > 0)
		slot_getallattrs(way.row);
	return way.modified || way.unfilled > 0 ? result_tuple(&way, tuple) : tuple;
}

/*
 * The row as an UPDATE that touches nothing would leave it; NULL where that is
 * as it is.  It is filled for every migration in flight, not only for the one
 * that backfills: a row that is rewritten may move to where another backfill
 * does not look any more.  The result is valid until the next row, and refers
 * to the given one.
 */
TupleTableSlot *
zdm_row_backfilled(Relation rel, ZdmRuleSet *set, const char *migration,
				   TupleTableSlot *row)
{
	ZdmRowUnderWay way = {
		.set = set,
		.rel = rel,
		.before = row,
		.row = row,
		.migration = migration,
	};

	apply_rules(&way);
	return way.modified ? way.row : NULL;
}

static void
apply_rules(ZdmRowUnderWay *way)
{
	ZdmRuleSet *set = way->set;
	Bitmapset  *applied = NULL;
	Stage		last = set->has_others ? COMPUTED : DEFAULTS;
	Stage		stage = set->count == 1 ? last : WRITTEN;
	bool		again;
	int			uses;
	ErrorContextCallback callback = {
		.callback = sync_error,
		.arg = way,
		.previous = error_context_stack,
	};

	error_context_stack = &callback;
	uses = zdm_rules_hold();
	do
	{
		again = false;
		for (int i = 0; i < set->count; i++)
		{
			ZdmRule    *rule = way->rule = &set->rules[i];
			ZdmDecision decision;
			ZdmSide    *side;
			bool		changed;

			if (set->count > 1 && bms_is_member(i, applied))
				continue;
			decision = decide(way, rule, stage);
			if (decision.direction == ZDM_LEAVE)
				continue;
			if (decision.direction == ZDM_DOWN && is_partial(way, rule))
				fill_rest(way, rule);
			side = decision.direction == ZDM_UP ? &rule->new : &rule->old;
			changed = decision.by_default ? apply_default(way, side) : apply(way, side);
			if (rule->kind == ZDM_RULE_FILL && !changed && !decision.by_default)
				zdm_fill_note_null(rule, way->rel);
			if (set->count == 1)
				continue;
			if (!decision.by_default)
				note_settled(way, side);
			/* What filled nothing may do so after another rule. */
			if (changed || (!decision.by_default && rule->kind == ZDM_RULE_SYNC))
			{
				applied = bms_add_member(applied, i);
				again = true;
				stage = WRITTEN;
			}
		}
		if (!again && stage < last)
		{
			again = true;
			stage++;
		}
	} while (again);
	zdm_rules_release(uses);
	error_context_stack = callback.previous;
}

/*
 * Whether the new side is about to be taken from a row that is not
 * backfilled, while it has columns that the statement may not have written.
 */
static bool
is_partial(ZdmRowUnderWay *way, const ZdmRule *rule)
{
	return rule->backfilling && rule->new.count > 1 && way->before != NULL &&
		zdm_side_is_null(&rule->new, way->before);
}

/*
 * Before a new side of several columns is taken, those of them that the
 * statement did not write get what the backfill would have given them: a NULL
 * there is no value yet, and down would make the old side lose what only it
 * holds.  An expression that fails fails the statement, for the same reason.
 */
static void
fill_rest(ZdmRowUnderWay *way, ZdmRule *rule)
{
	for (int i = 0; i < rule->new.count; i++)
	{
		const ZdmColumn *column = &rule->new.columns[i];
		Datum		value;
		bool		isnull;

		(void) slot_getattr(way->row, column->attnum, &isnull);
		if (!isnull || zdm_is_written(way, column))
			continue;
		value = zdm_value_compute(&column->value, way->set, way->before, &isnull);
		if (!isnull)
			set_column(way, column->attnum, value, false);
	}
}

/*
 * What a rule asks for in this stage.
 */
static ZdmDecision
decide(ZdmRowUnderWay *way, ZdmRule *rule, Stage stage)
{
	ZdmDecision decision = {.direction = ZDM_LEAVE};

	if (rule->kind == ZDM_RULE_SYNC)
		decision = zdm_decide(way, rule);
	else if (stage >= (rule->kind == ZDM_RULE_COMPUTE ? COMPUTED : FILLS) &&
			 zdm_fill_asked_for(rule, way->set, way->before, way->row,
								way->updated_cols, &decision.by_default))
		decision.direction = ZDM_UP;
	if (decision.by_default && stage < DEFAULTS)
		decision.direction = ZDM_LEAVE;
	return decision;
}

/*
 * What follows from something that was written counts as written for the
 * other rules, also where the value happens to be the same.
 */
static void
note_settled(ZdmRowUnderWay *way, const ZdmSide *side)
{
	for (int i = 0; i < side->count; i++)
		way->settled = bms_add_member(way->settled, side->columns[i].attnum);
}

/*
 * Filling a row that was not backfilled is a courtesy, but for the backfill
 * that visits it: an expression that fails on it is not the fault of a
 * statement that touches something else, and is reported by that backfill, or
 * by its verification.
 */
static bool
apply_default(ZdmRowUnderWay *way, ZdmSide *side)
{
	DefaultAttempt attempt = {.way = way,.side = side};
	bool		expressions = false;
	ErrorData  *error;

	for (int i = 0; i < side->count; i++)
		expressions |= side->columns[i].value.expression != NULL && !side->columns[i].value.constant;
	if (!expressions || way->before == NULL ||
		(way->migration != NULL && strcmp(way->migration, way->rule->migration) == 0))
		return apply(way, side);
	if (!zdm_attempt(attempt_default, &attempt, &error))
	{
		FreeErrorData(error);
		if (way->rule->kind == ZDM_RULE_FILL_OLDER)
			note_unfilled(way, side);
		return false;
	}
	return attempt.changed;
}

/*
 * The row stays older than the column, so that the backfill knows it again.
 */
static void
note_unfilled(ZdmRowUnderWay *way, const ZdmSide *side)
{
	AttrNumber	attnum = side->columns[0].attnum;

	if (way->unfilled != 0 && attnum > way->unfilled)
		return;
	way->unfilled = attnum;
	way->unfilled_by = way->rule;
}

static void
attempt_default(void *arg)
{
	DefaultAttempt *attempt = arg;

	attempt->changed = apply(attempt->way, attempt->side);
}

/*
 * In a quarantine the way out is on: back there is only what has failed.
 */
static void
sync_error(void *arg)
{
	ZdmRowUnderWay *way = arg;
	ZdmRule    *rule = way->rule;
	char	   *name = quote_literal_cstr(rule->migration);
	char	   *call = psprintf(rule->new_leads ? "zdm.contract(%s, quarantine => '0')" : "zdm.rollback(%s)", name);

	if (rule->kind != ZDM_RULE_SYNC)
		errcontext("zdm migration \"%s\" on table \"%s\", which %s column %s (to end it: SELECT %s)",
				   rule->migration, RelationGetRelationName(way->rel),
				   rule->kind == ZDM_RULE_COMPUTE ? "computes" : "fills",
				   zdm_side_names(&rule->new), call);
	else
		errcontext("zdm migration \"%s\" on table \"%s\", which keeps columns %s and %s in sync (to end it: SELECT %s)",
				   rule->migration, RelationGetRelationName(way->rel),
				   zdm_side_names(&rule->old), zdm_side_names(&rule->new), call);
}

/*
 * Compute the side from the other one.  Returns whether that changed it.
 */
static bool
apply(ZdmRowUnderWay *way, ZdmSide *side)
{
	Datum	   *values = palloc_array(Datum, side->count);
	bool	   *nulls = palloc_array(bool, side->count);
	bool		differs = false;

	for (int i = 0; i < side->count; i++)
	{
		const ZdmColumn *column = &side->columns[i];
		Datum		is;
		bool		is_null;

		is = slot_getattr(way->row, column->attnum, &is_null);
		if (way->rule->kind != ZDM_RULE_SYNC &&
			!zdm_fill_applies(way->rule, column, way->before, way->row, way->updated_cols))
		{
			values[i] = is;
			nulls[i] = is_null;
			continue;
		}
		values[i] = zdm_value_compute(&column->value, way->set, way->row, &nulls[i]);
		/* A default may well be NULL: then, too, the row has got it. */
		if (way->rule->kind == ZDM_RULE_FILL_OLDER ||
			!zdm_same_image(column, is, is_null, values[i], nulls[i]))
			differs = true;
	}
	if (!differs)
		return false;

	for (int i = 0; i < side->count; i++)
		set_column(way, side->columns[i].attnum, values[i], nulls[i]);
	return true;
}

/*
 * Put a value into the row, which becomes one of our own with the first.
 */
static void
set_column(ZdmRowUnderWay *way, AttrNumber attnum, Datum value, bool isnull)
{
	TupleTableSlot *work = way->set->work;

	if (way->row != work)
	{
		int			natts = work->tts_tupleDescriptor->natts;

		slot_getallattrs(way->row);
		ExecClearTuple(work);
		memcpy(work->tts_values, way->row->tts_values, (Size) natts * sizeof(Datum));
		memcpy(work->tts_isnull, way->row->tts_isnull, (Size) natts * sizeof(bool));
		ExecStoreVirtualTuple(work);
		way->row = work;
	}
	work->tts_values[attnum - 1] = value;
	work->tts_isnull[attnum - 1] = isnull;
	if (way->set->count > 1)
		way->changed = bms_add_member(way->changed, attnum);
	way->modified = true;
}

/*
 * An INSERT may bring a tuple of another table as it is, which may be one that
 * lacks columns: stored, it would look older than it is.
 */
static void
form_whole(ZdmRowUnderWay *way)
{
	if (zdm_stored_columns(way->row) == way->row->tts_tupleDescriptor->natts)
		return;
	slot_getallattrs(way->row);
	way->modified = true;
}

/*
 * The row under way as a tuple.  It was taken apart to be changed, so it is
 * formed from its values rather than from the tuple that it was.
 */
static HeapTuple
result_tuple(ZdmRowUnderWay *way, HeapTuple tuple)
{
	HeapTuple	result = heap_form_tuple(RelationGetDescr(way->rel),
										 way->row->tts_values,
										 way->row->tts_isnull);

	if (way->unfilled > 0 &&
		!zdm_fill_stay_older(way->rel, way->row, way->unfilled, result))
	{
		int			uses = zdm_rules_hold();

		zdm_fill_note_missed(way->unfilled_by, way->rel);
		zdm_rules_release(uses);
	}
	result->t_self = tuple->t_self;
	result->t_tableOid = tuple->t_tableOid;
	result->t_data->t_ctid = tuple->t_data->t_ctid;
	return result;
}
