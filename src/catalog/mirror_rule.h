/*-------------------------------------------------------------------------
 *
 * mirror_rule.h
 *	  Rows of zdm.mirror_rule.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_CATALOG_MIRROR_RULE_H
#define ZDM_CATALOG_MIRROR_RULE_H

#include "catalog/migration.h"

/*
 * Two tables hold the same: a row of the first and the row of the second with
 * the same key have equal columns.  Where some of the columns are optional,
 * there is a row in the second only for rows of the first in which those are
 * not NULL; else each row of either has one in the other.
 */
typedef struct ZdmMirrorRule
{
	int64		migration;		/* first of all: see catalog/rule.h */
	int			number;			/* of the rule in its migration */
	Oid			first;			/* its row is locked before the second's */
	Oid			second;			/* InvalidOid: expand is still to make it ... */
	char	   *new_schema;		/* ... under this name */
	char	   *new_table;
	List	   *first_keys;		/* of char *: the keys, column by column */
	List	   *second_keys;
	List	   *first_columns;	/* of char *: what they have in common */
	List	   *second_columns;
	int			optional;		/* so many of these, from the first */
	bool		fills_second;	/* the second is the new shape */
	bool		referencing;	/* the second's key is a foreign key */
	bool		several;		/* the second may have several rows for a key */
	char	   *first_by;		/* and which one the first table shows */
} ZdmMirrorRule;

extern void zdm_mirror_rule_insert(int64 migration, int number,
								   ZdmMirrorRule *rule);
extern void zdm_mirror_rules_delete(int64 migration);
extern List *zdm_mirror_rules_of(int64 migration);
extern List *zdm_mirror_rules_on(List *relids);
extern char *zdm_mirror_second_name(const ZdmMirrorRule *rule);
extern List *zdm_mirror_tables(List *rules);

#endif							/* ZDM_CATALOG_MIRROR_RULE_H */
