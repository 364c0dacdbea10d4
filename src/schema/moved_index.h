/*-------------------------------------------------------------------------
 *
 * moved_index.h
 *	  What a join table's indexes and constraints are for a column.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_MOVED_INDEX_H
#define ZDM_SCHEMA_MOVED_INDEX_H

#include "catalog/mirror_rule.h"
#include "nodes/pg_list.h"
#include "util/statement.h"

/* An index that the first table of a rule is to have. */
typedef struct ZdmMovedIndex
{
	Oid			table;
	List	   *columns;		/* of char *: the table's */
	bool		unique;
	char	   *name;			/* until the migration's end; NULL where it is
								 * only explained */
	Oid			made;			/* InvalidOid: it is not there yet */
	bool		valid;
} ZdmMovedIndex;

extern List *zdm_moved_indexes(int64 migration, ZdmMirrorRule *rule);
extern char *zdm_moved_index_sql(const ZdmMovedIndex *index);
extern ZdmStatement *zdm_moved_index_statement(const ZdmMovedIndex *index);
extern char *zdm_moved_index_final_sql(const ZdmMovedIndex *index);
extern List *zdm_not_moved(ZdmMirrorRule *rule);

#endif							/* ZDM_SCHEMA_MOVED_INDEX_H */
