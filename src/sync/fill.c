/*-------------------------------------------------------------------------
 *
 * fill.c
 *	  Rules that have no old side: what fills or computes a column.
 *
 * fill			a NULL that is about to be stored becomes the expression,
 *				whoever wrote it: the column is to become mandatory, while a
 *				version still runs that does not know so, or not the column.
 *
 * fill_older	so it does in a row that was stored before the column was
 *				added, and in no other: the column's default is volatile and
 *				those rows are to have one each, but a NULL that somebody gives
 *				the column stays.  Which rows these are the heap tells: a
 *				tuple knows how many columns its table had when it was formed.
 *				An UPDATE that names the column has decided about it.
 *
 * fill_unnamed	what fill_older becomes when the table has been written anew
 *				(VACUUM FULL, CLUSTER, a restore): every tuple has all columns
 *				by then.  As long as the migration is not ready, a NULL counts
 *				as never filled, whoever wrote it.  A statement that names the
 *				column stores it all the same, and the backfill fills it.
 *
 * compute		the expression's value, and no other: the column is to become
 *				a generated one.
 *
 * An expression is evaluated once for a row that is stored, and may be
 * volatile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "executor/tuptable.h"

#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

#include "catalog/event.h"
#include "sync/fill.h"
#include "sync/row_sync.h"
#include "util/spi.h"

/* A backend logs NULLs of one rule at most so often. */
#define NOTE_EVERY_MS	60000

/* For zdm.events. */
typedef struct FillNote
{
	ZdmRule    *rule;
	const char *event;
	char	   *detail;
} FillNote;

static bool is_time_to_note(ZdmRule *rule);
static void note(ZdmRule *rule, const char *event, char *detail);
static void note_event(void *arg);
static void check_computed(const ZdmColumn *column, ZdmRuleSet *set,
						   TupleTableSlot *before, TupleTableSlot *row);

/*
 * How many columns the table had when the row was stored.
 */
int
zdm_stored_columns(TupleTableSlot *row)
{
	if (TTS_IS_BUFFERTUPLE(row) || TTS_IS_HEAPTUPLE(row))
	{
		HeapTuple	tuple = ((HeapTupleTableSlot *) row)->tuple;

		if (tuple != NULL)
			return HeapTupleHeaderGetNatts(tuple->t_data);
	}
	return row->tts_tupleDescriptor->natts;
}

static bool
is_null(const ZdmColumn *column, TupleTableSlot *row)
{
	bool		isnull;

	(void) slot_getattr(row, column->attnum, &isnull);
	return isnull;
}

/*
 * Whether the rule is to set the column of a row that is about to be stored.
 * before: the row that an UPDATE found, NULL for an INSERT; named: its SET
 * list.  A backfill finds the row that it stores.
 */
bool
zdm_fill_applies(const ZdmRule *rule, const ZdmColumn *column,
				 TupleTableSlot *before, TupleTableSlot *row,
				 const Bitmapset *named)
{
	if (rule->kind == ZDM_RULE_COMPUTE)
		return true;
	if (!is_null(column, row))
		return false;
	if (rule->kind == ZDM_RULE_FILL)
		return true;
	if (before == NULL ||
		bms_is_member(column->attnum - FirstLowInvalidHeapAttributeNumber, named))
		return false;
	if (rule->kind == ZDM_RULE_FILL_OLDER)
		return zdm_stored_columns(before) < column->attnum;
	return rule->backfilling && is_null(column, before);
}

/*
 * Whether the rule is to set any column of the row.  courtesy: only columns
 * that an UPDATE leaves as it found them.
 */
bool
zdm_fill_asked_for(const ZdmRule *rule, ZdmRuleSet *set, TupleTableSlot *before,
				   TupleTableSlot *row, const Bitmapset *named, bool *courtesy)
{
	bool		result = false;

	*courtesy = true;
	for (int i = 0; i < rule->new.count; i++)
	{
		const ZdmColumn *column = &rule->new.columns[i];

		if (!zdm_fill_applies(rule, column, before, row, named))
			continue;
		if (rule->kind == ZDM_RULE_COMPUTE)
			check_computed(column, set, before, row);
		result = true;
		*courtesy &= before != NULL && is_null(column, before);
	}
	return result;
}

/*
 * Nobody gives a value to a column that is to be a generated one, as nobody
 * will be able to then.
 */
static void
check_computed(const ZdmColumn *column, ZdmRuleSet *set, TupleTableSlot *before,
			   TupleTableSlot *row)
{
	Datum		given,
				was,
				should;
	bool		given_null,
				was_null,
				should_null;

	given = slot_getattr(row, column->attnum, &given_null);
	if (given_null)
		return;
	if (before != NULL)
	{
		was = slot_getattr(before, column->attnum, &was_null);
		if (zdm_same_image(column, given, given_null, was, was_null))
			return;
	}
	should = zdm_value_compute(&column->value, set, row, &should_null);
	if (!zdm_same_image(column, given, given_null, should, should_null))
		ereport(ERROR,
				errcode(ERRCODE_GENERATED_ALWAYS),
				errmsg("cannot give column \"%s\" another value than its expression's",
					   column->name),
				errdetail("The column is to become a generated column."),
				errhint("Leave the column out of the statement."));
}

/*
 * Whether a stored row has what the rule demands.
 */
bool
zdm_fill_satisfied(const ZdmRule *rule, ZdmRuleSet *set, TupleTableSlot *row)
{
	if (rule->kind == ZDM_RULE_COMPUTE)
		return zdm_side_matches(&rule->new, set, row);
	for (int i = 0; i < rule->new.count; i++)
		if (zdm_fill_applies(rule, &rule->new.columns[i], row, row, NULL))
			return false;
	return true;
}

/*
 * Whether a backfill would make a difference to a row that does not have what
 * the rule demands: an expression that gives NULL fills nothing.
 */
bool
zdm_fill_possible(const ZdmRule *rule, ZdmRuleSet *set, TupleTableSlot *row)
{
	bool		isnull;

	if (rule->kind != ZDM_RULE_FILL)
		return true;
	for (int i = 0; i < rule->new.count; i++)
	{
		const ZdmColumn *column = &rule->new.columns[i];

		if (!zdm_fill_applies(rule, column, row, row, NULL))
			continue;
		(void) zdm_value_compute(&column->value, set, row, &isnull);
		if (!isnull)
			return true;
	}
	return false;
}

/*
 * A NULL is stored that the rule could not fill: whoever wants the column to
 * be mandatory finds in the server's log and in zdm.events who writes it.
 */
void
zdm_fill_note_null(ZdmRule *rule, Relation rel)
{
	if (!is_time_to_note(rule))
		return;
	ereport(LOG_SERVER_ONLY,
			errmsg("NULL was written to column \"%s\" of table \"%s\", which migration \"%s\" is to make mandatory",
				   rule->new.columns[0].name, RelationGetRelationName(rel), rule->migration),
			errdetail("By user %s, application \"%s\". No more is logged by this session for %d s.",
					  GetUserNameFromId(GetUserId(), true), application_name,
					  NOTE_EVERY_MS / 1000));
	note(rule, "NULL written",
		 psprintf("NULL in column \"%s\" of table \"%s\", by user %s, application \"%s\"",
				  rule->new.columns[0].name, RelationGetRelationName(rel),
				  GetUserNameFromId(GetUserId(), true), application_name));
}

/*
 * An older row is stored without the default that it was to have, and does not
 * look like an older one any more.
 */
void
zdm_fill_note_missed(ZdmRule *rule, Relation rel)
{
	if (!is_time_to_note(rule))
		return;
	ereport(LOG_SERVER_ONLY,
			errmsg("a row of table \"%s\" was stored without the default of column \"%s\" that migration \"%s\" was to give it",
				   RelationGetRelationName(rel), rule->new.columns[0].name, rule->migration),
			errdetail("By user %s, application \"%s\", for whom the default failed. No more is logged by this session for %d s.",
					  GetUserNameFromId(GetUserId(), true), application_name,
					  NOTE_EVERY_MS / 1000));
	note(rule, "default missed",
		 psprintf("rows of table \"%s\" with NULL in column \"%s\" are not told from those that mean it: an UPDATE by user %s, application \"%s\", could not give them the default",
				  RelationGetRelationName(rel), rule->new.columns[0].name,
				  GetUserNameFromId(GetUserId(), true), application_name));
}

static bool
is_time_to_note(ZdmRule *rule)
{
	TimestampTz now = GetCurrentTimestamp();

	if (!TimestampDifferenceExceeds(rule->noted, now, NOTE_EVERY_MS))
		return false;
	rule->noted = now;
	return true;
}

/*
 * The event is part of the writer's transaction, and is left out where it
 * could keep him waiting or would fail.
 */
static void
note(ZdmRule *rule, const char *event, char *detail)
{
	FillNote	arg = {.rule = rule,.event = event,.detail = detail};
	ErrorData  *error;

	if (ConditionalLockRelationOid(zdm_catalog_table("event"), RowExclusiveLock) &&
		!zdm_attempt(note_event, &arg, &error))
		FreeErrorData(error);
}

static void
note_event(void *arg)
{
	FillNote   *note = arg;
	ZdmMigration migration = {
		.id = note->rule->migration_id,
		.name = note->rule->migration,
		.relation = note->rule->relation,
	};

	zdm_event(&migration, "warning", note->event, note->detail);
}
