/*-------------------------------------------------------------------------
 *
 * event.c
 *	  Rows of zdm.event: the log.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/event.h"
#include "util/spi.h"

/*
 * Log what happened.  level: info, warning or error; event: one word or two;
 * detail: a sentence, or NULL.
 */
void
zdm_event(ZdmMigration *migration, const char *level, const char *event,
		  const char *detail)
{
	ZdmIdentity saved;

	zdm_catalog_begin(&saved);
	zdm_execute(SPI_OK_INSERT,
				"INSERT INTO zdm.event (migration_id, migration, relation, level, event, detail)"
				" VALUES ($1, $2, $3, $4, $5, $6)",
				ZDM_ARGS(ZDM_ARG(INT8OID, Int64GetDatum(migration->id)),
						 zdm_arg_name(migration->name),
						 ZDM_ARG(REGCLASSOID, ObjectIdGetDatum(migration->relation)),
						 zdm_arg_name(level),
						 zdm_arg_name(event),
						 zdm_arg_text(detail)));
	zdm_catalog_end(&saved);
}
