/*-------------------------------------------------------------------------
 *
 * zdm.c
 *	  Entry point of the library.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "sync/rule.h"
#include "sync/written.h"
#include "util/guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	zdm_define_gucs();
	zdm_rules_init();
	zdm_written_init();
}
