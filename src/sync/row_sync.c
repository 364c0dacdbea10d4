/*-------------------------------------------------------------------------
 *
 * row_sync.c
 *	  The trigger ~zdm_sync: applies a table's sync rules to a row.
 *
 * For each rule: find out which side the statement wrote, and compute the
 * other one from it.  The decision follows the values that changed, and where
 * those do not tell, the columns that the statement named:
 *
 * UPDATE
 *	 only old changed						new := up(old)
 *	 only new changed						old := down(new)
 *	 both changed, and they disagree		old := down(new)
 *	 nothing changed, not yet backfilled	old := down(new) where only new was
 *											named, else new := up(old)
 *	 nothing changed						leave it
 *
 * INSERT
 *	 only old named							new := up(old)
 *	 only new named							old := down(new)
 *	 both named, and they disagree			old := down(new), but a NULL new
 *											beside an old that has a value is a
 *											row that was not backfilled where it
 *											comes from: new := up(old)
 *	 none named								the side that leads, with its
 *											default, makes the other
 *
 * A row that an UPDATE moves from another partition is left as that one's
 * trigger made it.  Where it is not known what was named (logical replication,
 * the first nested statement of a session), a column that holds something else
 * than its default counts as named.
 *
 * "Leads" is the side that holds the original column: old before contract,
 * new after it.  A side that was named with NULL while the other one, not
 * named, is mandatory and has got a volatile default, was asked for that
 * default (VALUES (DEFAULT) leaves no other trace), and counts as not named.
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
 * Values are compared by their binary image.  A TOASTed value that neither
 * side touched is the same pointer on both and is not fetched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heaptoast.h"
#include "access/htup_details.h"
#include "access/sysattr.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "sync/arbiter.h"
#include "sync/fill.h"
#include "sync/row_sync.h"
#include "sync/written.h"
#include "util/spi.h"

/* The row on its way through the rules. */
typedef struct RowUnderWay
{
	ZdmRuleSet *set;
	Relation	rel;
	ZdmRule    *rule;			/* the one that is applied */
	const char *migration;		/* in a backfill: whose; else NULL */
	TupleTableSlot *before;		/* UPDATE: the old row; INSERT: NULL */
	TupleTableSlot *row;		/* as the rules so far have left it */
	bool		modified;
	AttrNumber	unfilled;		/* the first column added since the row was
								 * stored that could not be filled; or 0 */
	ZdmRule    *unfilled_by;	/* the rule that could not */
	Bitmapset  *changed;		/* with several rules: what they have set */
	Bitmapset  *settled;		/* those that follow from what was written */
	const Bitmapset *updated_cols;	/* UPDATE: the SET list */
	ZdmWritten	written;		/* INSERT */
} RowUnderWay;

typedef enum Direction
{
	LEAVE,
	UP,
	DOWN
} Direction;

/* What a rule asks for, and whether something that was written asks for it. */
typedef struct Decision
{
	Direction	direction;
	bool		by_default;
} Decision;

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
	RowUnderWay *way;
	ZdmSide    *side;
	bool		changed;
} DefaultAttempt;

static void apply_rules(RowUnderWay *way);
static bool is_partial(RowUnderWay *way, const ZdmRule *rule);
static void fill_rest(RowUnderWay *way, ZdmRule *rule);
static bool is_written(RowUnderWay *way, const ZdmColumn *column);
static Decision decide(RowUnderWay *way, ZdmRule *rule, Stage stage);
static void note_settled(RowUnderWay *way, const ZdmSide *side);
static bool apply_default(RowUnderWay *way, ZdmSide *side);
static void note_unfilled(RowUnderWay *way, const ZdmSide *side);
static void attempt_default(void *arg);
static void sync_error(void *arg);
static Decision decide_update(RowUnderWay *way, ZdmRule *rule);
static Decision decide_insert(RowUnderWay *way, ZdmRule *rule);
static bool side_changed(RowUnderWay *way, const ZdmSide *side);
static bool side_in_set_list(RowUnderWay *way, const ZdmSide *side);
static bool side_given(RowUnderWay *way, ZdmSide *side);
static bool is_named(RowUnderWay *way, ZdmColumn *column);
static bool differs_from_default(RowUnderWay *way, ZdmColumn *column);
static bool asks_for_default(RowUnderWay *way, const ZdmSide *named,
							 const ZdmSide *other);
static bool agree(RowUnderWay *way, ZdmRule *rule);
static bool apply(RowUnderWay *way, ZdmSide *side);
static void set_column(RowUnderWay *way, AttrNumber attnum, Datum value,
					   bool isnull);
static void form_whole(RowUnderWay *way);
static bool stay_older(RowUnderWay *way, HeapTuple tuple);
static HeapTuple result_tuple(RowUnderWay *way, HeapTuple tuple);

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
	RowUnderWay way = {
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
	RowUnderWay way = {
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
apply_rules(RowUnderWay *way)
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
			Decision	decision;
			ZdmSide    *side;
			bool		changed;

			if (set->count > 1 && bms_is_member(i, applied))
				continue;
			decision = decide(way, rule, stage);
			if (decision.direction == LEAVE)
				continue;
			if (decision.direction == DOWN && is_partial(way, rule))
				fill_rest(way, rule);
			side = decision.direction == UP ? &rule->new : &rule->old;
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
is_partial(RowUnderWay *way, const ZdmRule *rule)
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
fill_rest(RowUnderWay *way, ZdmRule *rule)
{
	for (int i = 0; i < rule->new.count; i++)
	{
		const ZdmColumn *column = &rule->new.columns[i];
		Datum		value;
		bool		isnull;

		(void) slot_getattr(way->row, column->attnum, &isnull);
		if (!isnull || is_written(way, column))
			continue;
		value = zdm_value_compute(&column->value, way->set, way->before, &isnull);
		if (!isnull)
			set_column(way, column->attnum, value, false);
	}
}

/*
 * Whether an UPDATE names the column, or something that it wrote set it.
 */
static bool
is_written(RowUnderWay *way, const ZdmColumn *column)
{
	return bms_is_member(column->attnum - FirstLowInvalidHeapAttributeNumber,
						 way->updated_cols) ||
		bms_is_member(column->attnum, way->settled);
}

/*
 * What a rule asks for in this stage.
 */
static Decision
decide(RowUnderWay *way, ZdmRule *rule, Stage stage)
{
	Decision	decision = {.direction = LEAVE};

	if (rule->kind == ZDM_RULE_SYNC)
		decision = way->before ? decide_update(way, rule) : decide_insert(way, rule);
	else if (stage >= (rule->kind == ZDM_RULE_COMPUTE ? COMPUTED : FILLS) &&
			 zdm_fill_asked_for(rule, way->set, way->before, way->row,
								way->updated_cols, &decision.by_default))
		decision.direction = UP;
	if (decision.by_default && stage < DEFAULTS)
		decision.direction = LEAVE;
	return decision;
}

/*
 * What follows from something that was written counts as written for the
 * other rules, also where the value happens to be the same.
 */
static void
note_settled(RowUnderWay *way, const ZdmSide *side)
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
apply_default(RowUnderWay *way, ZdmSide *side)
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
note_unfilled(RowUnderWay *way, const ZdmSide *side)
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

static void
sync_error(void *arg)
{
	RowUnderWay *way = arg;
	ZdmRule    *rule = way->rule;

	if (rule->kind != ZDM_RULE_SYNC)
		errcontext("zdm migration \"%s\" on table \"%s\", which %s column %s (to end it: SELECT zdm.rollback(%s))",
				   rule->migration, RelationGetRelationName(way->rel),
				   rule->kind == ZDM_RULE_COMPUTE ? "computes" : "fills",
				   zdm_side_names(&rule->new), quote_literal_cstr(rule->migration));
	else
		errcontext("zdm migration \"%s\" on table \"%s\", which keeps columns %s and %s in sync (to end it: SELECT zdm.rollback(%s))",
				   rule->migration, RelationGetRelationName(way->rel),
				   zdm_side_names(&rule->old), zdm_side_names(&rule->new),
				   quote_literal_cstr(rule->migration));
}

static Decision
decide_update(RowUnderWay *way, ZdmRule *rule)
{
	bool		old_changed = side_changed(way, &rule->old);
	bool		new_changed = side_changed(way, &rule->new);
	Decision	decision = {.direction = LEAVE};

	if (old_changed && new_changed)
		decision.direction = agree(way, rule) ? LEAVE : DOWN;
	else if (old_changed)
		decision.direction = UP;
	else if (new_changed)
		decision.direction = DOWN;
	else if (rule->backfilling && zdm_side_is_null(&rule->new, way->row))
	{
		bool		only_new = side_in_set_list(way, &rule->new) &&
			!side_in_set_list(way, &rule->old);

		decision.direction = only_new ? DOWN : UP;
		decision.by_default = !only_new;
	}
	return decision;
}

static Decision
decide_insert(RowUnderWay *way, ZdmRule *rule)
{
	bool		old_given,
				new_given,
				old_null,
				new_null;
	Decision	decision = {.direction = LEAVE};

	/* The partition that the row comes from has seen to it. */
	if (way->written.kind == ZDM_WRITTEN_MOVED)
		return decision;
	old_given = side_given(way, &rule->old);
	new_given = side_given(way, &rule->new);
	old_null = zdm_side_is_null(&rule->old, way->row);
	new_null = zdm_side_is_null(&rule->new, way->row);

	if (old_given && new_given)
	{
		if (!agree(way, rule))
			decision.direction = new_null ? UP : DOWN;
	}
	else if (new_given)
		decision.direction =
			asks_for_default(way, &rule->new, &rule->old) ? UP : DOWN;
	else if (old_given)
		decision.direction =
			asks_for_default(way, &rule->old, &rule->new) ? DOWN : UP;
	else
	{
		decision.by_default = true;
		if (rule->new_leads)
			decision.direction = new_null && !old_null ? UP : DOWN;
		else
			decision.direction = old_null && !new_null ? DOWN : UP;
	}
	return decision;
}

/*
 * Whether any column of the side differs from the row before, or was set by
 * another rule.
 */
static bool
side_changed(RowUnderWay *way, const ZdmSide *side)
{
	for (int i = 0; i < side->count; i++)
	{
		const ZdmColumn *column = &side->columns[i];
		Datum		before,
					now;
		bool		before_null,
					now_null;

		before = slot_getattr(way->before, column->attnum, &before_null);
		now = slot_getattr(way->row, column->attnum, &now_null);
		if (!zdm_same_image(column, before, before_null, now, now_null))
			return true;
	}
	return false;
}

static bool
side_in_set_list(RowUnderWay *way, const ZdmSide *side)
{
	for (int i = 0; i < side->count; i++)
		if (is_written(way, &side->columns[i]))
			return true;
	return false;
}

/*
 * Whether an INSERT gave the side a value: named one of its columns or, where
 * that is not known, stores something else than the column has by itself.
 * What another rule has set counts as given.
 */
static bool
side_given(RowUnderWay *way, ZdmSide *side)
{
	for (int i = 0; i < side->count; i++)
	{
		ZdmColumn  *column = &side->columns[i];

		if (bms_is_member(column->attnum, way->changed) ||
			bms_is_member(column->attnum, way->settled) ||
			(way->written.kind == ZDM_WRITTEN_UNKNOWN ? differs_from_default(way, column)
			 : is_named(way, column)))
			return true;
	}
	return false;
}

static bool
is_named(RowUnderWay *way, ZdmColumn *column)
{
	if (way->written.kind == ZDM_WRITTEN_COLUMNS &&
		column->statement_relid != way->written.relid)
	{
		column->statement_attnum = get_attnum(way->written.relid, column->name);
		column->statement_relid = way->written.relid;
	}
	return zdm_written_has(&way->written, column->name,
						   column->statement_relid, column->statement_attnum);
}

/*
 * A column that was left out holds its default, so a NULL in a column that
 * has one was given.  What a volatile default would have been nobody knows: a
 * value there may be it.
 */
static bool
differs_from_default(RowUnderWay *way, ZdmColumn *column)
{
	Datum		value,
				initial;
	bool		isnull,
				initial_null;

	value = slot_getattr(way->row, column->attnum, &isnull);
	if (column->volatile_default)
		return isnull;
	if (!zdm_column_initial(column, way->set, way->row, &initial, &initial_null))
		return !isnull;
	return !zdm_same_image(column, value, isnull, initial, initial_null);
}

/*
 * Whether a side that was named is all NULL only because it was given
 * DEFAULT, which the other side's mandatory column really has.  A default
 * that is always the same both columns have: then a NULL is meant.
 */
static bool
asks_for_default(RowUnderWay *way, const ZdmSide *named, const ZdmSide *other)
{
	if (!zdm_side_is_null(named, way->row))
		return false;
	for (int i = 0; i < other->count; i++)
	{
		bool		isnull;

		(void) slot_getattr(way->row, other->columns[i].attnum, &isnull);
		if (isnull || !other->columns[i].notnull || other->columns[i].initial != NULL)
			return false;
	}
	return true;
}

/*
 * Whether the two sides hold the same already: new = up(old) or
 * old = down(new).
 */
static bool
agree(RowUnderWay *way, ZdmRule *rule)
{
	return zdm_side_matches(&rule->new, way->set, way->row) ||
		zdm_side_matches(&rule->old, way->set, way->row);
}

/*
 * Compute the side from the other one.  Returns whether that changed it.
 */
static bool
apply(RowUnderWay *way, ZdmSide *side)
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
set_column(RowUnderWay *way, AttrNumber attnum, Datum value, bool isnull)
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
form_whole(RowUnderWay *way)
{
	if (zdm_stored_columns(way->row) == way->row->tts_tupleDescriptor->natts)
		return;
	slot_getallattrs(way->row);
	way->modified = true;
}

/*
 * A row that could not be filled is to look older than the columns that it
 * lacks.  Nobody sees a difference where it holds nothing in these.  Returns
 * whether it will: one that has to be toasted gets all columns by that.
 */
static bool
stay_older(RowUnderWay *way, HeapTuple tuple)
{
	TupleDesc	desc = RelationGetDescr(way->rel);
	HeapTupleHeader header = tuple->t_data;
	int			natts = way->unfilled - 1;
	uint8		hoff = MAXALIGN(SizeofHeapTupleHeader + BITMAPLEN(natts));

	for (int i = natts; i < desc->natts; i++)
		if (!way->row->tts_isnull[i] || TupleDescAttr(desc, i)->atthasmissing)
			return false;
	/* The bitmap of NULLs gets shorter, too. */
	memmove((char *) header + hoff, (char *) header + header->t_hoff,
			tuple->t_len - header->t_hoff);
	tuple->t_len -= header->t_hoff - hoff;
	header->t_hoff = hoff;
	HeapTupleHeaderSetNatts(header, natts);
	HeapTupleHeaderSetDatumLength(header, tuple->t_len);
	return !OidIsValid(way->rel->rd_rel->reltoastrelid) ||
		tuple->t_len <= TOAST_TUPLE_THRESHOLD;
}

/*
 * The row under way as a tuple.  It was taken apart to be changed, so it is
 * formed from its values rather than from the tuple that it was.
 */
static HeapTuple
result_tuple(RowUnderWay *way, HeapTuple tuple)
{
	HeapTuple	result = heap_form_tuple(RelationGetDescr(way->rel),
										 way->row->tts_values,
										 way->row->tts_isnull);

	if (way->unfilled > 0 && !stay_older(way, result))
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
