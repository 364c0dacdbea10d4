/*-------------------------------------------------------------------------
 *
 * mirror_departed.c
 *	  Rows that are on their way to another partition.
 *
 * An update that takes a row to another partition comes to our trigger as the
 * end of one row and the beginning of another, one right after the other.
 * Where the row gets another key with that, neither tells the other by itself:
 * so the first is kept until the second comes.  A trigger of the application's
 * may leave the second out; what is left is then never asked for, as it is of
 * another command.  The command is read from the rows themselves: in a session
 * that has loaded the library in the middle of a statement nothing else tells.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "utils/datum.h"
#include "utils/memutils.h"

#include "sync/mirror.h"

typedef struct Departed
{
	MemoryContext cxt;			/* it and the row are in */
	SubTransactionId subid;
	CommandId	command;		/* that takes it there */
	int64		migration_id;
	int			number;
	ZdmMirrorRow row;
	struct Departed *outer;
} Departed;

/* Those of a transaction, in its memory; the last first. */
static Departed *departed = NULL;
static TransactionId departed_xid = InvalidTransactionId;

static ZdmMirrorRow copy_row(const ZdmMirror *mirror, const ZdmMirrorRow *row);

/*
 * Keep a row that is deleted in its partition until it arrives in another one.
 * Returns false where it is just deleted.
 */
bool
zdm_mirror_depart(const ZdmMirror *mirror, TriggerData *trigdata, const ZdmMirrorRow *row)
{
	HeapTupleHeader tuple = trigdata->tg_trigtuple->t_data;
	TransactionId xid = GetTopTransactionId();
	MemoryContext cxt,
				old;
	Departed   *kept;

	if (!TRIGGER_FIRED_BY_DELETE(trigdata->tg_event) ||
		!HeapTupleHeaderIndicatesMovedPartitions(tuple))
		return false;
	cxt = AllocSetContextCreate(TopTransactionContext, "zdm departed row", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	kept = palloc_object(Departed);
	kept->cxt = cxt;
	kept->subid = GetCurrentSubTransactionId();
	kept->command = HeapTupleHeaderGetCmax(tuple);
	kept->migration_id = mirror->migration_id;
	kept->number = mirror->number;
	kept->row = copy_row(mirror, row);
	kept->outer = departed_xid == xid ? departed : NULL;
	departed = kept;
	departed_xid = xid;
	MemoryContextSwitchTo(old);
	return true;
}

/*
 * The row that one which is inserted into its partition was before, in the
 * current memory context.  Returns false where it is a new one.
 */
bool
zdm_mirror_arrive(const ZdmMirror *mirror, TriggerData *trigdata, ZdmMirrorRow *row)
{
	CommandId	command;

	if (departed == NULL || departed_xid != GetTopTransactionIdIfAny())
		return false;
	command = HeapTupleHeaderGetCmin(trigdata->tg_trigtuple->t_data);
	for (Departed **link = &departed; *link != NULL; link = &(*link)->outer)
	{
		Departed   *kept = *link;

		if (kept->subid != GetCurrentSubTransactionId() || kept->command != command ||
			kept->migration_id != mirror->migration_id || kept->number != mirror->number)
			continue;
		*row = copy_row(mirror, &kept->row);
		*link = kept->outer;
		MemoryContextDelete(kept->cxt);
		return true;
	}
	return false;
}

static ZdmMirrorRow
copy_row(const ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	ZdmMirrorRow copy = zdm_mirror_row_copy(mirror, row);

	for (int i = 0; i < mirror->count; i++)
		if (copy.nulls[i] != 'n')
			copy.values[i] = datumCopy(copy.values[i], mirror->columns[i].typbyval,
									   mirror->columns[i].typlen);
	return copy;
}
