/*-------------------------------------------------------------------------
 *
 * mirror_both.c
 *	  One statement that writes both tables.
 *
 * With data-modifying parts in WITH a statement may write a row in either
 * table.  The AFTER triggers of both fire when all of it is done: what one of
 * them is about to do to the other table has been done there, or something
 * else has, of which the trigger is still to come.  So nothing is taken for
 * granted then: a counterpart may be there already, a row that was deleted
 * may have come again, a key may have been changed, and what the first table
 * shows may be newer than the rows of the second.  For any other statement
 * these questions need not be asked.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "nodes/plannodes.h"
#include "parser/parsetree.h"
#include "utils/snapmgr.h"

#include "schema/relation.h"
#include "sync/mirror.h"
#include "sync/written.h"
#include "util/compat.h"

/*
 * Whether the statement that the trigger fires for writes the other table by
 * itself.  Called in the memory context that the trigger was called in.
 */
bool
zdm_mirror_writes_both(const ZdmMirror *mirror)
{
	return zdm_mirror_plan_writes(mirror, zdm_firing_plan());
}

/*
 * Whether a statement (NULL: none that is known) with parts of its own that
 * write does so with the other table.
 */
bool
zdm_mirror_plan_writes(const ZdmMirror *mirror, const PlannedStmt *plan)
{
	int			index = 0;

	if (plan == NULL || !plan->hasModifyingCTE)
		return false;
	while ((index = zdm_next_result_relation(plan, index)) > 0)
	{
		Oid			relid = rt_fetch(index, plan->rtable)->relid;

		if (relid == mirror->there || zdm_root_table(relid) == mirror->there)
			return true;
	}
	return false;
}

/*
 * Whether the first table shows what no row of the second has, nor has had
 * (gone, or NULL): the statement has written it, and it is mirrored in turn.
 */
bool
zdm_mirror_is_newer(ZdmMirror *mirror, const ZdmMirrorRow *row, const ZdmMirrorRow *gone)
{
	ZdmMirrorRow shown = zdm_mirror_row_copy(mirror, row);

	return !zdm_mirror_has_null(row, 0, mirror->keys) &&
		zdm_mirror_lookup(mirror, &shown, InvalidSnapshot) &&
		!zdm_mirror_has_null(&shown, mirror->keys, mirror->keys + mirror->optional) &&
		!(gone != NULL && zdm_mirror_same(mirror, &shown, gone, mirror->keys, mirror->count)) &&
		!zdm_mirror_member(zdm_mirror_self(mirror), &shown, GetLatestSnapshot());
}
