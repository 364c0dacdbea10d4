/*-------------------------------------------------------------------------
 *
 * clone.h
 *	  A table like another one, in a heap of its own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_CLONE_H
#define ZDM_SCHEMA_CLONE_H

#include "nodes/pg_list.h"
#include "utils/rel.h"

/* What is to be made, or was made, and of what. */
typedef struct ZdmClone
{
	Oid			source;
	char	   *schema;
	char	   *name;
	char	   *definition;		/* what comes behind the columns, or NULL */
	Oid			made;			/* the caller's own table, or InvalidOid */
	List	   *options;		/* of char *: storage parameters it sets */
	bool		placed;			/* it names a tablespace ... */
	bool		stored;			/* ... or an access method */
	bool		partitioned;
	List	   *partition_key;	/* of char *: its columns */
	bool		by_expression;	/* the key has an expression */
} ZdmClone;

extern ZdmClone *zdm_clone(Relation source, const char *schema,
						   const char *name, const char *definition);
extern ZdmClone *zdm_clone_existing(Oid source, Oid made);
extern char *zdm_clone_name(const ZdmClone *clone);
extern List *zdm_clone_key(Relation source);
extern List *zdm_clone_steps(const char *description, const char *query,
							 Relation source, const ZdmClone *clone);
extern List *zdm_clone_create_steps(Relation source, const ZdmClone *clone);
extern List *zdm_clone_option_steps(Relation source, const ZdmClone *clone);

/* clone_check.c */
extern void zdm_clone_check(Relation source, const ZdmClone *clone);
extern void zdm_clone_check_made(Relation source, Oid made);
extern void zdm_clone_guard(Oid source, Oid made, List *keys, const char *migration);

/* clone_dress.c */
extern List *zdm_clone_dress_steps(Relation source, const ZdmClone *clone);
extern List *zdm_clone_adorn_steps(Relation source, const ZdmClone *clone);
extern List *zdm_clone_foreign_key_steps(Relation source, const ZdmClone *clone);
extern List *zdm_clone_privilege_steps(Relation source, const ZdmClone *clone);

/* clone_added.c */
extern char *zdm_clone_record(Relation source, const ZdmClone *clone);
extern List *zdm_clone_added(Oid source, Oid made, const char *record);

/* clone_index.c */
extern List *zdm_clone_index_steps(Relation source, const ZdmClone *clone);
extern List *zdm_clone_index_texts(Relation rel, const ZdmClone *clone);
extern bool zdm_has_key_index(Oid relid, List *columns, bool unique);
extern bool zdm_clone_loses_unique(Relation source, const ZdmClone *clone);
extern char *zdm_clone_replica_identity(Oid source, Oid made);
extern char *zdm_clone_cluster_mark(Oid source, Oid made);

/* clone_trigger.c */
extern List *zdm_clone_trigger_steps(Relation source, const ZdmClone *clone);
extern List *zdm_clone_switch_steps(Oid from, Oid to);

/* clone_sequence.c */
extern List *zdm_clone_default_steps(Relation source, const ZdmClone *clone);
extern List *zdm_clone_hand_over_steps(Oid source, Oid made, const char *table);
extern int64 zdm_clone_next(Oid sequence);

#endif							/* ZDM_SCHEMA_CLONE_H */
