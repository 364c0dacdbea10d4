/*-------------------------------------------------------------------------
 *
 * decision.c
 *	  Which side of a sync rule a statement wrote, and so which way its values
 *	  go.
 *
 * The decision follows the values that changed, and where those do not tell,
 * the columns that the statement named:
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
 * Values are compared by their binary image.  A TOASTed value that neither
 * side touched is the same pointer on both and is not fetched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "utils/lsyscache.h"

#include "sync/decision.h"
#include "sync/side.h"

static ZdmDecision decide_update(ZdmRowUnderWay *way, ZdmRule *rule);
static ZdmDecision decide_insert(ZdmRowUnderWay *way, ZdmRule *rule);
static bool side_changed(ZdmRowUnderWay *way, const ZdmSide *side);
static bool side_in_set_list(ZdmRowUnderWay *way, const ZdmSide *side);
static bool side_given(ZdmRowUnderWay *way, ZdmSide *side);
static bool is_named(ZdmRowUnderWay *way, ZdmColumn *column);
static bool differs_from_default(ZdmRowUnderWay *way, ZdmColumn *column);
static bool asks_for_default(ZdmRowUnderWay *way, const ZdmSide *named,
							 const ZdmSide *other);
static bool agree(ZdmRowUnderWay *way, ZdmRule *rule);

/*
 * What a rule with two sides asks for.
 */
ZdmDecision
zdm_decide(ZdmRowUnderWay *way, ZdmRule *rule)
{
	return way->before ? decide_update(way, rule) : decide_insert(way, rule);
}

static ZdmDecision
decide_update(ZdmRowUnderWay *way, ZdmRule *rule)
{
	bool		old_changed = side_changed(way, &rule->old);
	bool		new_changed = side_changed(way, &rule->new);
	ZdmDecision decision = {.direction = ZDM_LEAVE};

	if (old_changed && new_changed)
		decision.direction = agree(way, rule) ? ZDM_LEAVE : ZDM_DOWN;
	else if (old_changed)
		decision.direction = ZDM_UP;
	else if (new_changed)
		decision.direction = ZDM_DOWN;
	else if (rule->backfilling && zdm_side_is_null(&rule->new, way->row))
	{
		bool		only_new = side_in_set_list(way, &rule->new) &&
			!side_in_set_list(way, &rule->old);

		decision.direction = only_new ? ZDM_DOWN : ZDM_UP;
		decision.by_default = !only_new;
	}
	return decision;
}

static ZdmDecision
decide_insert(ZdmRowUnderWay *way, ZdmRule *rule)
{
	bool		old_given,
				new_given,
				old_null,
				new_null;
	ZdmDecision decision = {.direction = ZDM_LEAVE};

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
			decision.direction = new_null ? ZDM_UP : ZDM_DOWN;
	}
	else if (new_given)
		decision.direction =
			asks_for_default(way, &rule->new, &rule->old) ? ZDM_UP : ZDM_DOWN;
	else if (old_given)
		decision.direction =
			asks_for_default(way, &rule->old, &rule->new) ? ZDM_DOWN : ZDM_UP;
	else
	{
		decision.by_default = true;
		if (rule->new_leads)
			decision.direction = new_null && !old_null ? ZDM_UP : ZDM_DOWN;
		else
			decision.direction = old_null && !new_null ? ZDM_DOWN : ZDM_UP;
	}
	return decision;
}

/*
 * Whether any column of the side differs from the row before, or was set by
 * another rule.
 */
static bool
side_changed(ZdmRowUnderWay *way, const ZdmSide *side)
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
side_in_set_list(ZdmRowUnderWay *way, const ZdmSide *side)
{
	for (int i = 0; i < side->count; i++)
		if (zdm_is_written(way, &side->columns[i]))
			return true;
	return false;
}

/*
 * Whether an UPDATE names the column, or something that it wrote set it.
 */
bool
zdm_is_written(ZdmRowUnderWay *way, const ZdmColumn *column)
{
	return bms_is_member(column->attnum - FirstLowInvalidHeapAttributeNumber,
						 way->updated_cols) ||
		bms_is_member(column->attnum, way->settled);
}

/*
 * Whether an INSERT gave the side a value: named one of its columns or, where
 * that is not known, stores something else than the column has by itself.
 * What another rule has set counts as given.
 */
static bool
side_given(ZdmRowUnderWay *way, ZdmSide *side)
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
is_named(ZdmRowUnderWay *way, ZdmColumn *column)
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
differs_from_default(ZdmRowUnderWay *way, ZdmColumn *column)
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
asks_for_default(ZdmRowUnderWay *way, const ZdmSide *named, const ZdmSide *other)
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
agree(ZdmRowUnderWay *way, ZdmRule *rule)
{
	return zdm_side_matches(&rule->new, way->set, way->row) ||
		zdm_side_matches(&rule->old, way->set, way->row);
}
