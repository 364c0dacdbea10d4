/*-------------------------------------------------------------------------
 *
 * twin_constraint.h
 *	  The constraints of twin columns.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_TWIN_CONSTRAINT_H
#define ZDM_SCHEMA_TWIN_CONSTRAINT_H

#include "access/tupdesc.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

#include "schema/retype.h"
#include "util/spi.h"

/* A column, and the one that is to take its place. */
typedef struct ZdmPair
{
	Oid			relation;
	char	   *from;
	char	   *to;
	bool		exact;			/* the twin tells values apart, and orders
								 * them, as the column does */
	const char *convert;		/* the expression that makes the other's value
								 * of it; NULL: an assignment */
	const char *back;			/* and the reverse */
	const ZdmType *type;		/* of one that is not there yet, or NULL */
	bool		contracted;		/* they have each other's names */
} ZdmPair;

extern ZdmPair *zdm_pair(Oid relation, const char *from, const char *to);
extern ZdmArg zdm_arg_oids(List *oids);
extern List *zdm_pair_tables(List *pairs);
extern List *zdm_pairs_of_part(List *pairs, Oid part);
extern List *zdm_foreign_key_tables(List *pairs);
extern List *zdm_twin_constraint_steps(int64 migration, List *pairs, bool left);
extern List *zdm_constraint_add_steps(Oid relid, const char *name, const char *source,
									  char *add, LOCKMODE lock, List *with,
									  bool validate, bool left);
extern bool zdm_constraint_is_valid(Oid relid, const char *name, bool *exists);
extern char *zdm_twin_not_null_name(int64 migration, const char *column);
extern char *zdm_twin_text(Relation rel, List *pairs, const ZdmType *type,
						   Node *expr);
extern Node *zdm_constraint_tree(Oid constraint);

/*
 * The arguments $1 (oid[]), $2 and $3 (name[]) that say the pairs to a query,
 * and what it makes of them.
 */
#define ZDM_PAIRS(pairs) \
	zdm_pair_relations(pairs), zdm_pair_names(pairs, false), zdm_pair_names(pairs, true)
#define ZDM_PAIRS_SQL \
	"ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3)) p(rel, col, twin)"

extern ZdmArg zdm_pair_relations(List *pairs);
extern ZdmArg zdm_pair_names(List *pairs, bool twins);

#endif							/* ZDM_SCHEMA_TWIN_CONSTRAINT_H */
