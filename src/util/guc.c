/*-------------------------------------------------------------------------
 *
 * guc.c
 *	  Settings of zdm.
 *
 * But for the launcher's, every one of them may be set by any user for a
 * session: none of them widens what that user may do, they only say how
 * patient or how gentle zdm is on the user's own tables.
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
double		zdm_backfill_pause = -1.0;
int			zdm_quarantine = 0;
bool		zdm_fire_user_triggers = false;
int			zdm_max_replication_lag = 10000;
int			zdm_max_archive_backlog = 1024;
int			zdm_max_wal_rate = 0;
double		zdm_vacuum_after = 10.0;
int			zdm_backfill_workers = 1;
bool		zdm_build_indexes = true;
bool		zdm_auto_start = true;
bool		zdm_ignore_mentions = false;
bool		zdm_direct_views = true;
int			zdm_worker_patience = 3600000;
int			zdm_launcher_naptime = 60;

static void define_throttle_gucs(void);
static void define_worker_gucs(void);

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
							 "0 does not pause; 1 lets the backfill work half of the time; -1 pauses, and keeps batches short, while other sessions run statements.",
							 &zdm_backfill_pause, -1.0, -1.0, 1000.0,
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
	DefineCustomBoolVariable("zdm.ignore_mentions",
							 "Whether a column or a table is dropped although functions mention it.",
							 "The text of a function's body is looked at for the names; it may mean something else.",
							 &zdm_ignore_mentions, false,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("zdm.direct_views",
							 "Whether a query by the name of a compatibility view goes straight to its table.",
							 "If not, the server puts the view's own query into it, as into any.",
							 &zdm_direct_views, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	define_throttle_gucs();
	define_worker_gucs();
	MarkGUCPrefixReserved("zdm");
}

/*
 * What makes a backfill wait for others.
 */
static void
define_throttle_gucs(void)
{
	DefineCustomIntVariable("zdm.max_replication_lag",
							"A backfill waits while the replay of a replica is further behind.",
							"Physical standbys and logical subscribers count alike. 0 does not look at them.",
							&zdm_max_replication_lag, 10000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("zdm.max_archive_backlog",
							"A backfill waits while more WAL than this waits for the archiver.",
							"0 does not look at it.",
							&zdm_max_archive_backlog, 1024, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MB, NULL, NULL, NULL);
	DefineCustomIntVariable("zdm.max_wal_rate",
							"The most WAL that the backfill of one migration writes in a second.",
							"All its workers share it. 0 sets no limit.",
							&zdm_max_wal_rate, 0, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomRealVariable("zdm.vacuum_after",
							 "Dead rows of a backfill after which its worker vacuums the table.",
							 "In per cent of the table's rows. 0 never does.",
							 &zdm_vacuum_after, 10.0, 0.0, 100.0,
							 PGC_USERSET, 0, NULL, NULL, NULL);
}

/*
 * Who runs a migration in the background.
 */
static void
define_worker_gucs(void)
{
	DefineCustomIntVariable("zdm.backfill_workers",
							"Workers that run a migration, where the call does not say.",
							NULL,
							&zdm_backfill_workers, 1, 1, ZDM_MAX_WORKERS,
							PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("zdm.build_indexes",
							 "Whether the second column of a migration gets the indexes that the first one has.",
							 "What holds is the setting at expand.",
							 &zdm_build_indexes, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("zdm.auto_start",
							 "Whether the backfill starts in the background when expand commits.",
							 NULL,
							 &zdm_auto_start, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("zdm.worker_patience",
							"How long a background worker goes on without progress.",
							"Also how long it waits for one transaction while it builds an index.",
							&zdm_worker_patience, 3600000, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("zdm.launcher_naptime",
							"How often the launcher looks for migrations that nobody runs.",
							NULL,
							&zdm_launcher_naptime, 60, 1, 3600,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}
