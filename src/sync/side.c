/*-------------------------------------------------------------------------
 *
 * side.c
 *	  What one side of a rule holds in a row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/datum.h"

#include "sync/side.h"
#include "util/compat.h"
#include "util/ident.h"

/*
 * Whether it holds nothing: a NULL in each of its columns.
 */
bool
zdm_side_is_null(const ZdmSide *side, TupleTableSlot *row)
{
	for (int i = 0; i < side->count; i++)
	{
		bool		isnull;

		(void) slot_getattr(row, side->columns[i].attnum, &isnull);
		if (!isnull)
			return false;
	}
	return true;
}

/*
 * Whether the side holds what the other side makes it.
 */
bool
zdm_side_matches(const ZdmSide *side, ZdmRuleSet *set, TupleTableSlot *row)
{
	for (int i = 0; i < side->count; i++)
	{
		const ZdmColumn *column = &side->columns[i];
		Datum		is,
					should;
		bool		is_null,
					should_null;

		is = slot_getattr(row, column->attnum, &is_null);
		should = zdm_value_compute(&column->value, set, row, &should_null);
		if (!zdm_same_image(column, is, is_null, should, should_null))
			return false;
	}
	return true;
}

/*
 * Compare two values of a column bit by bit.  Two references to one TOASTed
 * value are equal without being followed.
 */
bool
zdm_same_image(const ZdmColumn *column, Datum a, bool a_null, Datum b, bool b_null)
{
	if (a_null || b_null)
		return a_null == b_null;
	if (column->typlen == -1)
	{
		struct varlena *x = (struct varlena *) DatumGetPointer(a);
		struct varlena *y = (struct varlena *) DatumGetPointer(b);

		if (x == y)
			return true;
		if (VARATT_IS_EXTERNAL_ONDISK(x) && VARATT_IS_EXTERNAL_ONDISK(y) &&
			memcmp(x, y, VARSIZE_EXTERNAL(x)) == 0)
			return true;
	}
	return datum_image_eq(a, b, column->typbyval, column->typlen);
}

/*
 * Its columns' names, for messages.
 */
char *
zdm_side_names(const ZdmSide *side)
{
	List	   *names = NIL;

	for (int i = 0; i < side->count; i++)
		names = lappend(names, side->columns[i].name);
	return zdm_names_text(names);
}
