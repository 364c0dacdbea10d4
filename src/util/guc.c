/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Settings of zdm.
 *
 * Every one of them may be set by any user for a session: none of them
 * widens what that user may do, they only say how patient or how gentle
 * zdm is on the user's own tables.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "util/guc.h"

int			zdm_lock_patience = 30000;
int			zdm_lock_wait = 50;
int			zdm_batch_target = 25;
double		zdm_backfill_pause = 0.0;
int			zdm_quarantine = 0;
bool		zdm_fire_user_triggers = false;

/*
 * Define the settings; called once, when the library is loaded.
 */
void
zdm_define_gucs(void)
{
	DefineCustomIntVariable("zdm.lock_patience",
							"How long zdm tries to get a lock before it gives up.",
							"The attempts are short: see zdm.lock_wait.",
							&zdm_lock_patience, 30000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("zdm.lock_wait",
							"The longest time that other sessions may wait behind a lock request of zdm.",
							NULL,
							&zdm_lock_wait, 50, 1, 60000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("zdm.batch_target",
							"How long one batch of a backfill aims to take.",
							NULL,
							&zdm_batch_target, 25, 1, 60000,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomRealVariable("zdm.backfill_pause",
							 "Pause between two batches, as a share of the time the last one took.",
							 "0 does not pause; 1 lets the backfill work half of the time.",
							 &zdm_backfill_pause, 0.0, 0.0, 1000.0,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("zdm.quarantine",
							"How long the old shape is kept in sync after contract, where the call does not say.",
							"0 drops it at contract.",
							&zdm_quarantine, 0, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomBoolVariable("zdm.fire_user_triggers",
							 "Whether a backfill fires the table's own triggers.",
							 NULL,
							 &zdm_fire_user_triggers, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	MarkGUCPrefixReserved("zdm");
}
