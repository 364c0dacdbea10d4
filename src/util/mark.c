/*-------------------------------------------------------------------------
 *
 * mark.c
 *	  Locks of a session's that show to others what it is at.
 *
 * Who runs a migration is stored nowhere: it is read from these locks.  They
 * are the session's, because the work spans transactions, and nobody ever
 * waits for one.  They belong to the lock method of advisory locks, the only
 * one whose locks outlive a transaction that fails, and which the server takes
 * away from a backend that ends, however it ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lock.h"

#include "util/compat.h"
#include "util/mark.h"
#include "util/spi.h"

/* The tables of the catalog that the locks are said to be on. */
static const char *const mark_tables[] = {
	[ZDM_MARK_LOOP] = "backfill_range",
	[ZDM_MARK_STATEMENT] = "step",
	[ZDM_MARK_TABLE] = "sync_rule",
};

/*
 * Set a mark; returns false where somebody has it in a way that conflicts.
 * The tag is filled in for zdm_unmark(), which reads no catalog and so may be
 * called after an error.
 */
bool
zdm_mark(LOCKTAG *tag, ZdmMark mark, int64 object, int number, LOCKMODE mode)
{
	SET_LOCKTAG_OBJECT(*tag, MyDatabaseId, zdm_catalog_table(mark_tables[mark]),
					   (Oid) object, number);
	tag->locktag_lockmethodid = USER_LOCKMETHOD;
	return LockAcquire(tag, mode, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

/*
 * Set it again where code of a table's owner has released it, as
 * pg_advisory_unlock_all() does.  Returns false where it is another's by now.
 */
bool
zdm_mark_kept(LOCKTAG *tag, LOCKMODE mode)
{
	return zdm_lock_held_by_me(tag, mode) ||
		LockAcquire(tag, mode, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
zdm_unmark(LOCKTAG *tag, LOCKMODE mode)
{
	(void) LockRelease(tag, mode, true);
}

/*
 * The backends (ZdmMarked *) that have set a mark.
 */
List *
zdm_marked(ZdmMark mark, int64 object)
{
	MemoryContext cxt = CurrentMemoryContext;
	ZdmIdentity saved;
	List	   *result = NIL;
	uint64		rows;

	zdm_catalog_begin(&saved);
	rows = zdm_execute(SPI_OK_SELECT,
					   "SELECT l.pid, l.objsubid FROM pg_catalog.pg_locks l"
					   " WHERE l.locktype = 'object' AND l.granted"
					   " AND l.database = $1 AND l.classid = $2 AND l.objid = $3",
					   ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(MyDatabaseId)),
								ZDM_ARG(OIDOID, ObjectIdGetDatum(zdm_catalog_table(mark_tables[mark]))),
								ZDM_ARG(OIDOID, ObjectIdGetDatum((Oid) object))));
	for (uint64 row = 0; row < rows; row++)
	{
		MemoryContext old = MemoryContextSwitchTo(cxt);
		ZdmMarked  *marked = palloc_object(ZdmMarked);
		bool		isnull;

		marked->pid = DatumGetInt32(zdm_result(row, 1, &isnull));
		marked->number = DatumGetInt16(zdm_result(row, 2, &isnull));
		result = lappend(result, marked);
		MemoryContextSwitchTo(old);
	}
	zdm_catalog_end(&saved);
	return result;
}
