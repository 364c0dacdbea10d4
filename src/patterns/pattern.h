/*-------------------------------------------------------------------------
 *
 * pattern.h
 *	  What a pattern is.
 *
 * A pattern is data: functions that look at a migration's spec and return
 * the steps of each phase.  They execute nothing and change nothing, so that
 * zdm.explain can ask them the same questions as the life cycle does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_PATTERN_H
#define ZDM_PATTERNS_PATTERN_H

#include "catalog/migration.h"
#include "catalog/mirror_rule.h"
#include "catalog/step.h"
#include "nodes/parsenodes.h"
#include "schema/drop.h"
#include "schema/twin_follow.h"
#include "utils/rel.h"
#include "util/statement.h"

/* A second column, which gets the indexes that the first one has. */
typedef struct ZdmTwin
{
	Oid			relation;
	char	   *column;
	char	   *twin;
} ZdmTwin;

typedef struct ZdmPattern
{
	const char *name;
	const char *strategy;		/* NULL: it has but one */

	/*
	 * Raise an error where the table or the arguments do not allow it; may
	 * complete the spec (its rules, the other tables).  Called before and
	 * again after the locks were taken.
	 */
	void		(*check) (ZdmMigration *migration, Relation rel);

	/*
	 * The steps (ZdmStep *) of each phase.  Where migrate has none, or is
	 * NULL, the migration is ready at once.
	 */
	List	   *(*expand) (ZdmMigration *migration, Relation rel);
	List	   *(*migrate) (ZdmMigration *migration);
	List	   *(*contract) (ZdmMigration *migration, bool quarantine);
	List	   *(*finish) (ZdmMigration *migration);
	List	   *(*rollback) (ZdmMigration *migration);

	/*
	 * Complete the spec with what the steps of expand have made (rules, other
	 * tables), before the rules are installed.  NULL: it is complete.
	 */
	void		(*complete) (ZdmMigration *migration);

	/*
	 * Of the DDL in migrate, what is still to be done, as the catalog has it
	 * now: run between the indexes and the verification, each step in a
	 * transaction of its own and as its table's owner.  NULL: there is none.
	 */
	List	   *(*statements) (ZdmMigration *migration);
	bool		verify_first;	/* and then these, where nothing was found */

	/*
	 * Where one of them finds rows that the verification has not: the DDL
	 * that takes them back, before it looks again.  NULL: the migration
	 * fails.
	 */
	List	   *(*take_back) (ZdmMigration *migration);

	/*
	 * Before a rollback that needs something proved, which takes a scan:
	 * called without a lock, and may look at every row itself; returns the
	 * steps that make it provable.  They are run in the call's transaction,
	 * the migration goes back to its migrate phase for what statements()
	 * returns then, and once it is ready the same call goes ahead.  NIL:
	 * nothing is needed (any more).  NULL: never.
	 */
	List	   *(*prepare_rollback) (ZdmMigration *migration);

	/*
	 * The locks (ZdmLock *) that a phase needs, in the order in which
	 * everybody takes them.  NULL, or NIL: all tables of the migration
	 * against everybody.
	 */
	List	   *(*locks) (ZdmMigration *migration, ZdmPhase phase, bool quarantine);

	/*
	 * What others have attached (char *) to what the phase would drop.  NULL:
	 * there is never anything.
	 */
	List	   *(*attached) (ZdmMigration *migration, ZdmPhase phase);

	/*
	 * What (char *) is to be done on the side that stays, so that nothing
	 * made of the other one since expand goes with it.  NULL: there is never
	 * anything.
	 */
	List	   *(*added) (ZdmMigration *migration, ZdmPhase phase);

	/*
	 * What (char *) the caller is to be told before the phase.  NULL: there
	 * is never anything.
	 */
	List	   *(*cautions) (ZdmMigration *migration, ZdmPhase phase);

	/*
	 * The tables (oids) that the phase's steps lock besides those that the
	 * migration works on.  NULL: there are never any.
	 */
	List	   *(*also_locked) (ZdmMigration *migration, ZdmPhase phase, bool quarantine);

	/* The second columns (ZdmTwin *), before contract.  NULL: there are none. */
	List	   *(*twins) (ZdmMigration *migration);

	/*
	 * The indexes (ZdmWantedIndex *) of the step ZDM_STEP_INDEX that are no
	 * second column's, whether they are there or not.  NULL: there are none.
	 */
	List	   *(*indexes) (ZdmMigration *migration);

	/*
	 * Raise an error where somebody's DDL has broken the migration.  NULL:
	 * what is checked of every migration is enough.
	 */
	void		(*guard) (ZdmMigration *migration, Relation rel);

	/*
	 * The steps that bring what the migration has made in line with what
	 * somebody's DDL has made of the table.  NULL: there is none.
	 */
	List	   *(*mend) (ZdmMigration *migration, Relation rel);

	/*
	 * The statements (char *) that repeat a GRANT or REVOKE, as the caller.
	 * NULL: there is nothing to repeat it on.
	 */
	List	   *(*privileges) (ZdmMigration *migration, const GrantStmt *stmt);

	/*
	 * The steps that do to what the migration has made what somebody's DDL
	 * has just done to what that stands for.  NULL: there is nothing to do.
	 */
	List	   *(*follow) (ZdmMigration *migration, const ZdmDdl *ddl);

	/* What will be different (ZdmNote *) while the migration is in flight. */
	List	   *(*notes) (ZdmMigration *migration, Relation rel);
} ZdmPattern;

typedef struct ZdmNote
{
	bool		warn;			/* this table is concerned: say so at expand */
	char	   *text;
} ZdmNote;

extern ZdmNote *zdm_note(bool warn, const char *format,...) pg_attribute_printf(2, 3);

extern List *zdm_notes(const ZdmPattern *pattern, ZdmMigration *migration,
					   Relation rel);
extern List *zdm_notes_of_others(ZdmMigration *migration, Relation rel);
extern List *zdm_notes_of_functions(Oid relid, const char *column);
extern List *zdm_notes_of_stars(ZdmMigration *migration);
extern List *zdm_notes_of_rows(Oid relid);
extern List *zdm_notes_of_results(Oid relid, const char *column);
extern List *zdm_notes_of_settings(TupleDesc desc, const char *argument, List *texts);
extern ZdmNote *zdm_note_conflicts(void);
extern List *zdm_notes_of_backfill(ZdmMigration *migration);
extern List *zdm_mirror_notes(ZdmMirrorRule *rule);
extern List *zdm_mirror_trigger_notes(ZdmMirrorRule *rule);

extern List *zdm_drop_notes(ZdmDrop *drop, List *functions, const char *kind,
							const char *name);

extern int	zdm_hint_rollback(ZdmMigration *migration);
extern void zdm_guard_column(ZdmMigration *migration, const char *column);
extern void zdm_check_fill(ZdmMigration *migration);
extern void zdm_guard_not_null(ZdmMigration *migration, const char *column);

/* One line for each pattern; lifecycle/registry.c has the list. */
extern const ZdmPattern zdm_change_column_type_pattern;
extern const ZdmPattern zdm_rename_column_pattern;
extern const ZdmPattern zdm_rename_column_view_pattern;
extern const ZdmPattern zdm_rename_table_view_pattern;
extern const ZdmPattern zdm_rename_table_view_first_pattern;
extern const ZdmPattern zdm_rename_table_dual_write_pattern;
extern const ZdmPattern zdm_sync_columns_pattern;
extern const ZdmPattern zdm_split_column_pattern;
extern const ZdmPattern zdm_merge_columns_pattern;
extern const ZdmPattern zdm_add_column_pattern;
extern const ZdmPattern zdm_set_not_null_pattern;
extern const ZdmPattern zdm_drop_not_null_pattern;
extern const ZdmPattern zdm_drop_column_pattern;
extern const ZdmPattern zdm_drop_table_pattern;
extern const ZdmPattern zdm_join_table_to_column_pattern;
extern const ZdmPattern zdm_column_to_join_table_pattern;

#endif							/* ZDM_PATTERNS_PATTERN_H */
