/*-------------------------------------------------------------------------
 *
 * drop.h
 *	  What goes when a column or a table is dropped, and what is in the way.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_DROP_H
#define ZDM_SCHEMA_DROP_H

#include "nodes/pg_list.h"

typedef struct ZdmDrop
{
	List	   *along;			/* of char *: what goes along */
	List	   *in_the_way;		/* of char *: what needs what goes */
	List	   *referenced;		/* oids of tables that foreign keys which go
								 * along refer to: the drop locks them, too */
} ZdmDrop;

extern ZdmDrop *zdm_drop_of_column(Oid relid, const char *column);
extern ZdmDrop *zdm_drop_of_table(Oid relid);

#endif							/* ZDM_SCHEMA_DROP_H */
