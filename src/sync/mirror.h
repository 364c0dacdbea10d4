/*-------------------------------------------------------------------------
 *
 * mirror.h
 *	  Two tables that hold the same: the triggers ~zdm_mirror.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_MIRROR_H
#define ZDM_SYNC_MIRROR_H

#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "nodes/lockoptions.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/plancache.h"
#include "utils/rel.h"

#include "sync/rule_cache.h"
#include "util/compat.h"

/* What is done to the other table. */
typedef enum ZdmMirrorAction
{
	ZDM_MIRROR_LOCK,			/* its row with that key ... */
	ZDM_MIRROR_LOCK_RIVALS,		/* ... or those of rows here that have another
								 * unique key of that row's */
	ZDM_MIRROR_LOCK_NOWAIT,		/* its row with that key, or an error ... */
	ZDM_MIRROR_LOCK_SKIP,		/* ... or nothing, where somebody has it */
	ZDM_MIRROR_SET,				/* that row's columns */
	ZDM_MIRROR_MOVE,			/* that row's key and columns */
	ZDM_MIRROR_MOVE_FIRST,		/* the same, before the row here is moved */
	ZDM_MIRROR_INSERT,
	ZDM_MIRROR_ADD,				/* insert, unless it is there */
	ZDM_MIRROR_PUT,				/* the same, before the row here is inserted */
	ZDM_MIRROR_REMOVE,			/* delete the row with that key and columns */
	ZDM_MIRROR_SHOW,			/* have the first table show that of several
								 * which was read here */
	ZDM_MIRROR_DELETE,
	ZDM_MIRROR_CLEAR,			/* the columns, where they are as given */
	ZDM_MIRROR_EMPTY,			/* whatever has no counterpart here any more */
	ZDM_MIRROR_SET_HERE,		/* the columns of the row here */
	ZDM_MIRROR_FETCH,			/* the same, by what was read there */
	ZDM_MIRROR_MOVE_HERE,		/* its key and columns */
	ZDM_MIRROR_INSERT_HERE,		/* unless there is one with that key */
	ZDM_MIRROR_DELETE_HERE,
	ZDM_MIRROR_MEMBER,			/* look for the row with that key and columns
								 * ... */
	ZDM_MIRROR_EXISTS,			/* ... with that key ... */
	ZDM_MIRROR_LOOKUP			/* ... and read its columns */
} ZdmMirrorAction;

#define ZDM_MIRROR_ACTIONS (ZDM_MIRROR_LOOKUP + 1)

/* A column here, and its counterpart's name in the other table. */
typedef struct ZdmMirrorColumn
{
	AttrNumber	attnum;
	char	   *name;
	char	   *there;
	Oid			type;
	int32		typmod;
	Oid			collation;
	int16		typlen;
	bool		typbyval;
} ZdmMirrorColumn;

/* A column there that the rule knows nothing of, with a sequence of its own. */
typedef struct ZdmMirrorSerial
{
	char	   *there;
	Oid			type;
	Oid			sequence;
} ZdmMirrorSerial;

/* A foreign key here that may serve for one of the other table's. */
typedef struct ZdmMirrorGuard
{
	int			column;			/* one of the rule's */
	Oid			refers_to;
	AttrNumber	referred;
	Oid			equals;
} ZdmMirrorGuard;

#define ZDM_MIRROR_GUARDS	32

typedef struct ZdmMirrorDirect ZdmMirrorDirect;
typedef struct ZdmMirrorLook ZdmMirrorLook;
typedef struct ZdmMirrorCopy ZdmMirrorCopy;

/*
 * A rule as seen from one of its tables, or a partition of that.  The key's
 * columns come first in columns.
 */
typedef struct ZdmMirror
{
	int64		migration_id;
	char	   *migration;
	int			number;
	Oid			here;
	Oid			there;
	bool		is_first;		/* here is the first table */
	bool		backfilling;	/* the new shape may lack rows or values */
	bool		fills_second;
	bool		referencing;
	bool		several;		/* the second table may have several rows for
								 * a key ... */
	bool		last_first;		/* ... and the first shows the last of them */
	bool		has_rivals;		/* here are unique keys besides the key */
	bool		of_partition;	/* there is one of the other table's */
	int			keys;			/* so many of the columns are the key */
	int			optional;		/* so many behind these say, by not being
								 * NULL, that the second table has a row */
	int			count;
	ZdmMirrorColumn *columns;
	int			guard_count;
	ZdmMirrorGuard guards[ZDM_MIRROR_GUARDS];
	struct ZdmMirror *own;		/* here instead of there, for a look; NULL
								 * where no row moves between partitions ... */
	struct ZdmMirror *self;		/* ... and for any other look, or NULL: see
								 * zdm_mirror_self() */
	CachedPlanSource *plans[ZDM_MIRROR_ACTIONS];
	List	   *retired;		/* plans that may be in use under us */
	int			serials;		/* what an INSERT gives besides */
	ZdmMirrorSerial *serial;
	Oid			lookup_index;	/* of the other table, on the key; or 0 */
	struct ScanKeyData *lookup_keys;	/* in the index's order ... */
	int		   *lookup_values;	/* ... each of which of our columns */
	ZdmMirrorDirect *direct;	/* what mirror_direct.c knows */
	MemoryContext cxt;			/* the set's */
} ZdmMirror;

/* A table's mirror rules. */
typedef struct ZdmMirrorSet
{
	ZdmCachedSet cached;
	MemoryContextCallback release;
	int			count;
	ZdmMirror  *mirrors;
	TupleTableSlot *work;		/* a row under way */
} ZdmMirrorSet;

/* A row's values, in the order of a rule's columns; nulls as SPI has them. */
typedef struct ZdmMirrorRow
{
	Datum	   *values;
	char	   *nulls;
	uint32		checked;		/* which of the rule's guards were, for it */
} ZdmMirrorRow;

/* mirror_compile.c */
extern void zdm_mirrors_init(void);
extern ZdmMirrorSet *zdm_mirrors_get(Relation rel);
extern ZdmMirrorSet *zdm_mirrors_of_migration(Relation rel, const char *migration);
extern AttrNumber *zdm_mirror_attnums(const ZdmMirror *mirror, Relation there);
extern ZdmMirror *zdm_mirror_self(ZdmMirror *mirror);
extern void zdm_mirror_take(const ZdmMirror *mirror, TupleTableSlot *slot,
							ZdmMirrorRow *row);
extern ZdmMirrorRow zdm_mirror_row_copy(const ZdmMirror *mirror, const ZdmMirrorRow *row);
extern bool zdm_mirror_same(const ZdmMirror *mirror, const ZdmMirrorRow *a,
							const ZdmMirrorRow *b, int from, int to);
extern bool zdm_mirror_has_null(const ZdmMirrorRow *row, int from, int to);

/* mirror_guard.c */
extern void zdm_mirror_compile_guards(Relation rel, ZdmMirror *mirror);
extern uint32 zdm_mirror_checked(const ZdmMirror *mirror, const ZdmMirrorRow *before,
								 const ZdmMirrorRow *after);
extern uint32 *zdm_mirror_guarded(const ZdmMirror *mirror, Relation there,
								  const AttrNumber *attnums, const TriggerDesc *triggers);
extern void zdm_mirror_spare_checks(const ZdmMirror *mirror, ZdmMirrorAction action,
									const ZdmMirrorRow *row, EState *estate);
extern TriggerDesc *zdm_mirror_unguarded(TriggerDesc *triggers, const uint32 *guarded,
										 uint32 checked);

/* mirror_action.c */
extern uint64 zdm_mirror_do(ZdmMirror *mirror, ZdmMirrorAction action,
							const ZdmMirrorRow *row, const ZdmMirrorRow *before);
extern bool zdm_mirror_lookup(ZdmMirror *mirror, ZdmMirrorRow *row,
							  Snapshot snapshot);
extern bool zdm_mirror_member(ZdmMirror *mirror, const ZdmMirrorRow *row,
							  Snapshot snapshot);
extern pg_noreturn void zdm_mirror_found_several(const ZdmMirror *mirror);
extern bool zdm_mirror_exists(ZdmMirror *mirror, const ZdmMirrorRow *row,
							  Snapshot snapshot);
extern Oid	zdm_mirror_target(const ZdmMirror *mirror, ZdmMirrorAction action);
extern bool zdm_mirror_is_nested(const ZdmMirror *mirror);
extern bool zdm_mirror_is_written(const ZdmMirror *mirror);
extern bool zdm_mirror_is_echo(const ZdmMirror *mirror, const ZdmMirrorRow *before,
							   const ZdmMirrorRow *after);

/* mirror_statement.c */
extern void zdm_mirror_drop_plans(ZdmMirror *mirror);
extern uint64 zdm_mirror_run(ZdmMirror *mirror, ZdmMirrorAction action,
							 const ZdmMirrorRow *row, const ZdmMirrorRow *before,
							 Snapshot snapshot, DestReceiver *dest, uint64 count);

/* mirror_sql.c */
extern char *zdm_mirror_sql(const ZdmMirror *mirror, ZdmMirrorAction action);

/* mirror_lookup.c */
extern bool zdm_mirror_can_scan(ZdmMirror *mirror, Relation there);
extern struct SysScanDescData *zdm_mirror_begin_scan(ZdmMirror *mirror, Relation there,
													 const ZdmMirrorRow *row,
													 Snapshot snapshot);
extern bool zdm_mirror_has_key(const ZdmMirror *mirror, TupleTableSlot *slot,
							   const ZdmMirrorRow *row);

/* mirror_look.c */
extern ZdmMirrorLook *zdm_mirror_look_begin(ZdmMirror *mirror, Snapshot snapshot);
extern void zdm_mirror_look_end(ZdmMirrorLook *look);
extern bool zdm_mirror_look(ZdmMirrorLook *look, ZdmMirrorRow *row);

/* mirror_direct.c */
extern bool zdm_mirror_direct(ZdmMirror *mirror, Relation there, ZdmMirrorAction action,
							  const ZdmMirrorRow *row, uint64 *processed);
extern void zdm_mirror_direct_forget(ZdmMirror *mirror);
extern bool zdm_mirror_direct_read(ZdmMirror *mirror, Relation there, ZdmMirrorRow *row,
								   bool *found);
extern bool zdm_mirror_can_copy(ZdmMirror *mirror, Relation there, TriggerDesc **triggers);
extern bool zdm_mirror_is_alone(const ZdmMirror *mirror, Relation there);
extern bool zdm_mirror_constraint_triggers(Relation rel, TriggerDesc **triggers);
extern ResultRelInfo *zdm_mirror_begin_write(EState *estate, TriggerDesc *triggers,
											 Relation there);
extern void zdm_mirror_end_write(EState *estate);

/* mirror_copy.c */
extern bool zdm_mirror_insert_row(const ZdmMirror *mirror, Relation there,
								  TriggerDesc *triggers, const AttrNumber *attnums,
								  const ZdmMirrorRow *row, ZdmMirrorAction action,
								  ItemPointer tid);
extern ZdmMirrorCopy *zdm_mirror_copy_begin(ZdmMirror *mirror);
extern uint64 zdm_mirror_copy_end(ZdmMirrorCopy *copy);
extern void zdm_mirror_copy_row(ZdmMirrorCopy *copy, TupleTableSlot *slot);
extern void zdm_mirror_copy_flush(ZdmMirrorCopy *copy);

/* mirror.c */
extern HeapTuple zdm_mirror_fire(TriggerData *trigdata);

/* mirror_departed.c */
extern bool zdm_mirror_depart(const ZdmMirror *mirror, TriggerData *trigdata,
							  const ZdmMirrorRow *row);
extern bool zdm_mirror_arrive(const ZdmMirror *mirror, TriggerData *trigdata,
							  ZdmMirrorRow *row);

/* mirror_both.c */
extern bool zdm_mirror_writes_both(const ZdmMirror *mirror);
extern bool zdm_mirror_plan_writes(const ZdmMirror *mirror, const PlannedStmt *plan);
extern bool zdm_mirror_is_newer(ZdmMirror *mirror, const ZdmMirrorRow *row,
								const ZdmMirrorRow *gone);

/* mirror_undo.c */
extern void zdm_mirror_insert_there(ZdmMirror *mirror, const ZdmMirrorRow *after);
extern void zdm_mirror_delete_there(ZdmMirror *mirror, const ZdmMirrorRow *before);
extern bool zdm_mirror_undo_update(ZdmMirror *mirror, const ZdmMirrorRow *before,
								   const ZdmMirrorRow *after);
extern void zdm_mirror_add_there(ZdmMirror *mirror, const ZdmMirrorRow *removed,
								 const ZdmMirrorRow *after);
extern void zdm_mirror_undo_optional(ZdmMirror *mirror, const ZdmMirrorRow *after);
extern bool zdm_mirror_undo_clear(ZdmMirror *mirror, const ZdmMirrorRow *before,
								  const ZdmMirrorRow *after);
extern bool zdm_mirror_show_there(ZdmMirror *mirror, const ZdmMirrorRow *before,
								  const ZdmMirrorRow *after, bool both);
extern bool zdm_mirror_undo_set(ZdmMirror *mirror, const ZdmMirrorRow *before,
								const ZdmMirrorRow *after);

/* mirror_insert.c */
extern HeapTuple zdm_mirror_before_insert(TriggerData *trigdata);
extern bool zdm_mirror_is_put(ZdmMirror *mirror, const ZdmMirrorRow *row);
extern List *zdm_mirror_other_keys(const ZdmMirror *mirror);

/* mirror_order.c */
extern void zdm_mirror_order_locks(Relation rel);
extern void zdm_mirror_row_updated(EState *estate);
extern bool zdm_mirror_is_moving(void);
extern void zdm_mirror_lock_first(Relation rel, TupleTableSlot *slot);
extern bool zdm_mirror_lock_selected(Relation rel, TupleTableSlot *slot,
									 LockWaitPolicy policy);

/* mirror_key.c */
extern void zdm_mirror_watch_merge(ModifyTableState *modify);
extern void zdm_mirror_before_key(ResultRelInfo *info, EState *estate,
								  TupleTableSlot *before, TupleTableSlot *after);

/* mirror_row.c */
extern ZdmMirrorLook **zdm_mirror_looks_begin(ZdmMirrorSet *set, const char *migration);
extern void zdm_mirror_looks_end(ZdmMirrorSet *set, ZdmMirrorLook **looks);
extern ZdmMirrorCopy *zdm_mirror_copy_of(ZdmMirrorSet *set, const char *migration);
extern Bitmapset *zdm_mirror_fills(ZdmMirrorSet *set, const char *migration);
extern TupleTableSlot *zdm_mirror_filled(ZdmMirrorSet *set, const char *migration,
										 ZdmMirrorLook **looks, TupleTableSlot *slot);
extern bool zdm_mirror_is_copied(ZdmMirrorSet *set, const char *migration,
								 TupleTableSlot *slot);
extern bool zdm_mirror_copied(ZdmMirrorSet *set, const char *migration,
							  TupleTableSlot *slot);
extern bool zdm_mirror_matches(ZdmMirrorSet *set, const char *migration,
							   ZdmMirrorLook **looks, TupleTableSlot *slot,
							   bool *unfilled);

#endif							/* ZDM_SYNC_MIRROR_H */
