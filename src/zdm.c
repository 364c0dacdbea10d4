/*-------------------------------------------------------------------------
 *
 * zdm.c
 *	  Entry point of the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "backfill/worker.h"
#include "hooks/query.h"
#include "hooks/utility.h"
#include "lifecycle/background.h"
#include "sync/mirror.h"
#include "sync/rule.h"
#include "sync/written.h"
#include "util/guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);
PGDLLEXPORT void zdm_worker_main(Datum arg);
PGDLLEXPORT void zdm_launcher_main(Datum arg);

bool		zdm_preloaded = false;

void
_PG_init(void)
{
	zdm_define_gucs();
	zdm_rules_init();
	zdm_mirrors_init();
	zdm_written_init();
	zdm_utility_init();
	zdm_query_init();
	zdm_worker_init();
	if (process_shared_preload_libraries_in_progress)
	{
		zdm_preloaded = true;
		zdm_launcher_register();
	}
}

/*
 * Where a background worker begins.
 */
void
zdm_worker_main(Datum arg)
{
	zdm_background_work(zdm_worker_begin());
}

void
zdm_launcher_main(Datum arg)
{
	zdm_launcher_begin();
	zdm_background_launch();
}
