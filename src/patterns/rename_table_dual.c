/*-------------------------------------------------------------------------
 *
 * rename_table_dual.c
 *	  Rename a table by a second one, for what needs a heap of its own.
 *
 * Other partitioning, another tablespace, other storage: the old version goes
 * on with the old table, the new one has a second table under the new name,
 * and both hold every row.  The old table is the first of a mirror rule, the
 * new one the second.
 *
 * expand	the second table with all that is on the old one, triggers, rule
 * migrate	copy the rows, have foreign keys refer to both tables, compare
 * contract	the application's triggers fire on the new table, foreign keys to
 *			the old one change names with their likes; without a quarantine
 *			also finish
 * finish	the sequences change hands, the old table goes
 * rollback	the second table goes; after contract triggers and names go back
 *
 * The second table is made by the steps, or, where it needs more than a clause
 * can say, it is there before: an empty one of the caller's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_publication.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

#include "catalog/mirror_rule.h"
#include "patterns/pattern.h"
#include "schema/clone.h"
#include "schema/depend.h"
#include "schema/join_table.h"
#include "schema/referrer.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "schema/view.h"
#include "schema/view_acl.h"
#include "sync/mirror_install.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/lock.h"
#include "util/spi.h"

/* What the first table was like at expand. */
#define FOUND "_found"

static ZdmMirrorRule *
mirror(ZdmMigration *migration)
{
	return linitial(migration->mirrors);
}

/*
 * Where the second table is to be: as it is written in SQL, with or without a
 * schema.
 */
static ZdmPlace
wanted_place(ZdmMigration *migration)
{
	RangeVar   *range = makeRangeVarFromNameList(textToQualifiedNameList(cstring_to_text(zdm_argument(migration, "new_name"))));

	return (ZdmPlace)
	{
		range->schemaname ? range->schemaname
			: get_namespace_name(get_rel_namespace(migration->relation)), range->relname
	};
}

static ZdmClone *
clone_of(ZdmMigration *migration, Relation rel)
{
	ZdmPlace	place = wanted_place(migration);

	return zdm_clone(rel, place.schema, place.name, zdm_argument(migration, "definition"));
}

/*
 * The table that expand has made, or found.
 */
static Oid
second(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);

	return OidIsValid(rule->second) ? rule->second
		: get_relname_relid(rule->new_table, get_namespace_oid(rule->new_schema, false));
}

/*
 * The columns (char *) that are in no key and that somebody writes.
 */
static List *
written_columns(Relation rel, List *keys)
{
	List	   *result = NIL;

	for (int i = 0; i < RelationGetNumberOfAttributes(rel); i++)
	{
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(rel), i);
		bool		is_key = false;
		ListCell   *lc;

		foreach(lc, keys)
			is_key |= strcmp(lfirst(lc), NameStr(attr->attname)) == 0;
		if (!attr->attisdropped && !attr->attgenerated && !is_key)
			result = lappend(result, pstrdup(NameStr(attr->attname)));
	}
	return result;
}

static ZdmMirrorRule *
rule_of(Relation rel, const ZdmClone *clone)
{
	ZdmMirrorRule *rule = palloc0_object(ZdmMirrorRule);

	rule->first = RelationGetRelid(rel);
	rule->second = clone->made;
	rule->new_schema = clone->schema;
	rule->new_table = clone->name;
	rule->first_keys = rule->second_keys = zdm_clone_key(rel);
	rule->first_columns = rule->second_columns = written_columns(rel, rule->first_keys);
	rule->fills_second = true;
	return rule;
}

static void
check(ZdmMigration *migration, Relation rel)
{
	ZdmPlace	place = wanted_place(migration);
	List	   *others = zdm_migrations_on(migration->relation);
	ZdmClone   *clone;

	if (zdm_argument(migration, "rename_owned") != NULL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"rename_owned\" is for a compatibility view: a second table has indexes and constraints of its own"),
				errhint("Leave it out."));
	zdm_check_table(rel);
	if (others != NIL)
		zdm_refuse_table(rel, linitial(others));
	zdm_view_check_place(migration->relation, place);
	clone = clone_of(migration, rel);
	zdm_clone_check(rel, clone);
	if (OidIsValid(clone->made))
		zdm_clone_check_made(rel, clone->made);
	else if (zdm_is_taken(get_namespace_oid(place.schema, false), place.name))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("relation or type \"%s\" already exists in schema \"%s\"",
					   place.name, place.schema),
				errhint("Choose another name, or drop that one first."));
	zdm_check_referrers(rel, clone);
	zdm_set_argument(migration, FOUND, zdm_clone_record(rel, clone));
	migration->mirrors = list_make1(rule_of(rel, clone));
	migration->others = OidIsValid(clone->made) ? list_make1_oid(clone->made) : NIL;
}

static char *
replica_identity_now(ZdmMigration *migration)
{
	return zdm_clone_replica_identity(migration->relation, second(migration));
}

static char *
cluster_mark_now(ZdmMigration *migration)
{
	return zdm_clone_cluster_mark(migration->relation, second(migration));
}

/*
 * The marks that name an index which the steps before them make, where they
 * are not those that a new table has.
 */
static List *
mark_steps(Relation rel, const ZdmClone *clone)
{
	char	   *name = zdm_clone_name(clone);
	List	   *steps = NIL;
	ZdmStep    *step;
	ListCell   *lc;

	if (rel->rd_rel->relreplident != REPLICA_IDENTITY_DEFAULT)
	{
		step = zdm_step(ZDM_STEP_DDL, NoLock, "set the replica identity",
						psprintf("ALTER TABLE %s REPLICA IDENTITY ...", name));
		step->sql_now = replica_identity_now;
		steps = lappend(steps, step);
	}
	foreach(lc, clone->partitioned ? NIL : RelationGetIndexList(rel))
	{
		if (!get_index_isclustered(lfirst_oid(lc)))
			continue;
		step = zdm_step(ZDM_STEP_DDL, NoLock, "mark the index for CLUSTER",
						psprintf("ALTER TABLE %s CLUSTER ON ...", name));
		step->sql_now = cluster_mark_now;
		steps = lappend(steps, step);
	}
	return steps;
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	ZdmClone   *clone = clone_of(migration, rel);
	List	   *steps = zdm_clone_create_steps(rel, clone);

	steps = list_concat(steps, mark_steps(rel, clone));
	steps = list_concat(steps, zdm_clone_dress_steps(rel, clone));
	return list_concat(steps, zdm_mirror_install_steps(migration));
}

static void
complete(ZdmMigration *migration)
{
	mirror(migration)->second = second(migration);
	migration->others = list_make1_oid(mirror(migration)->second);
}

static List *
migrate(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);
	char	   *name = zdm_mirror_second_name(rule);
	char	   *first = zdm_quote_relation(rule->first);
	List	   *steps;
	List	   *referrers = zdm_referrer_add_steps(rule->first, rule->second, name);

	steps = list_make1(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock, "copy the rows",
								psprintf("INSERT INTO %s SELECT * FROM %s WHERE ctid in a range of blocks ON CONFLICT DO NOTHING",
										 name, first)));
	steps = list_concat(steps, referrers);
	return lappend(steps, zdm_step(ZDM_STEP_VERIFY, AccessShareLock, "compare the two tables", NULL));
}

/*
 * Each foreign key is added and validated by two statements.
 */
static List *
statements(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);

	return list_concat(zdm_referrer_add_steps(rule->first, rule->second,
											  zdm_mirror_second_name(rule)),
					   zdm_referrer_validate_steps(rule->first, rule->second));
}

/*
 * The steps that make the one table lead rather than the other, which goes at
 * once or later.
 */
static List *
switch_steps(Oid from, Oid to, bool later)
{
	return list_concat(zdm_referrer_switch_steps(from, to, later), zdm_clone_switch_steps(from, to));
}

static ZdmStep *
drop_step(Oid table, const char *name, const char *description)
{
	return zdm_step_on(table, ZDM_STEP_DDL, AccessExclusiveLock, description,
					   psprintf("DROP TABLE %s", name));
}

/*
 * The steps that leave the second table alone.
 */
static List *
end_steps(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);
	List	   *steps = zdm_mirror_remove_steps(migration);

	steps = list_concat(steps, zdm_clone_hand_over_steps(rule->first, rule->second,
														 zdm_mirror_second_name(rule)));
	return lappend(steps, drop_step(rule->first, zdm_quote_relation(rule->first), "drop the old table"));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	ZdmMirrorRule *rule = mirror(migration);
	List	   *steps = switch_steps(rule->first, rule->second, quarantine);

	return quarantine ? steps : list_concat(steps, end_steps(migration));
}

static List *
finish(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);

	return list_concat(zdm_referrer_drop_steps(rule->first, rule->second), end_steps(migration));
}

static List *
rollback(ZdmMigration *migration)
{
	ZdmMirrorRule *rule = mirror(migration);
	List	   *steps = migration->state == ZDM_CONTRACTED
		? switch_steps(rule->second, rule->first, false)
		: zdm_referrer_drop_steps(rule->second, rule->first);

	steps = list_concat(steps, zdm_mirror_remove_steps(migration));
	return lappend(steps, drop_step(rule->second, zdm_mirror_second_name(rule), "drop the second table"));
}

static List *
add_locks(List *locks, List *tables, LOCKMODE mode)
{
	ListCell   *lc,
			   *part;

	foreach(lc, tables)
		foreach(part, zdm_table_and_partitions(lfirst_oid(lc)))
		locks = lappend(locks, zdm_lock(lfirst_oid(part), mode));
	return locks;
}

static int
compare_locks(const ListCell *a, const ListCell *b)
{
	Oid			x = ((ZdmLock *) lfirst(a))->relation;
	Oid			y = ((ZdmLock *) lfirst(b))->relation;

	return x < y ? -1 : x > y;
}

/*
 * Foreign keys are made and dropped on the tables at both of their ends, and
 * they are read to be checked by whoever writes one of these.
 */
static List *
locks(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	ZdmMirrorRule *rule = mirror(migration);
	bool		ends = phase != ZDM_EXPAND && !(phase == ZDM_CONTRACT && quarantine);
	LOCKMODE	mode = ends ? AccessExclusiveLock : ShareRowExclusiveLock;
	List	   *result = add_locks(NIL, list_make1_oid(rule->first), mode);

	if (OidIsValid(rule->second))
		result = add_locks(result, list_make1_oid(rule->second),
						   phase == ZDM_EXPAND ? AccessExclusiveLock : mode);
	if (ends || phase == ZDM_EXPAND)
		result = add_locks(result, list_difference_oid(zdm_referred_tables(rule->first),
													   list_make1_oid(rule->first)), mode);
	if (phase != ZDM_EXPAND)
		result = add_locks(result, zdm_referring_tables(rule->first), AccessExclusiveLock);
	list_sort(result, compare_locks);
	return result;
}

/*
 * Of what depends on the table that goes, what does not go over to the other.
 */
static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	ZdmMirrorRule *rule = mirror(migration);
	bool		back = phase == ZDM_ROLLBACK;
	Oid			gone = back ? rule->second : rule->first;
	List	   *known = zdm_referrer_descriptions(rule->first, rule->second);
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_table_dependents(gone))
	{
		if (!zdm_is_among(known, lfirst(lc)))
			result = zdm_add_line(result, lfirst(lc));
	}
	return result;
}

/*
 * What the first table has got meanwhile would go with it.
 */
static List *
added(ZdmMigration *migration, ZdmPhase phase)
{
	ZdmMirrorRule *rule = mirror(migration);
	const char *found = zdm_argument(migration, FOUND);

	if (phase == ZDM_ROLLBACK || found == NULL)
		return NIL;
	return zdm_clone_added(rule->first, rule->second, found);
}

static List *
mend(ZdmMigration *migration, Relation rel)
{
	return zdm_mirror_owner_steps(mirror(migration));
}

/*
 * Nobody has a right to one of the tables and not to the other.
 */
static List *
privileges(ZdmMigration *migration, const GrantStmt *stmt)
{
	ZdmMirrorRule *rule = mirror(migration);
	ZdmView		both = {
		.oid = rule->second,
		.place = zdm_relation_place(rule->second),
		.table = zdm_relation_place(rule->first),
	};

	return zdm_view_grant_again(rule->first, &both, stmt);
}

static void
guard(ZdmMigration *migration, Relation rel)
{
	ZdmMirrorRule *rule = mirror(migration);

	zdm_guard_mirror(migration);
	zdm_clone_guard(rule->first, rule->second, rule->first_keys, migration->name);
}

static List *
partition_notes(Relation rel, ZdmClone *clone)
{
	List	   *result = NIL;

	if (!clone->partitioned)
		return NIL;
	if (!OidIsValid(clone->made) || !OidIsValid(get_default_partition_oid(clone->made)))
		result = lappend(result,
						 zdm_note(true, "a row that fits no partition of table %s is refused to the old version, too: give it a DEFAULT partition, and all partitions before you commit",
								  zdm_clone_name(clone)));
	if (!OidIsValid(clone->made) && zdm_clone_loses_unique(rel, clone))
		result = lappend(result,
						 zdm_note(true, "unique keys of table %s get the columns %s, by which it is partitioned: from the end of the old table on nobody holds the shorter keys",
								  zdm_clone_name(clone), zdm_names_text(clone->partition_key)));
	return result;
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	ZdmClone   *clone = clone_of(migration, rel);
	char	   *old_name = zdm_quote_relation(migration->relation);
	char	   *new_name = zdm_clone_name(clone);
	List	   *functions = zdm_functions_mentioning(migration->relation, NULL);
	List	   *result = partition_notes(rel, clone);

	if (functions != NIL)
		result = lappend(result,
						 zdm_note(true, "after contract table %s is gone; these functions mention it: %s",
								  old_name, zdm_names_text(functions)));
	if (zdm_relation_publications(migration->relation) != NIL)
		result = lappend(result,
						 zdm_note(true, "table %s is published by name: add table %s to the publications when the subscribers have it",
								  old_name, new_name));
	result = list_concat(result, zdm_mirror_trigger_notes(mirror(migration)));
	result = lappend(result,
					 zdm_note(false, "the new version may start once the state is ready: before, rows of table %s are missing",
							  new_name));
	result = lappend(result,
					 zdm_note(false, "every write of either table writes the other's row, too; triggers for rows fire once, on table %s up to contract, then on table %s, and those for statements fire once for each row that the other table's writers wrote; a write that a trigger of the other table skips by returning NULL is taken back, but counts",
							  old_name, new_name));
	result = lappend(result,
					 zdm_note(false, "up to finish, identity columns of table %s take any value that is given, and pg_get_serial_sequence does not know their sequences",
							  new_name));
	result = lappend(result,
					 zdm_note(false, "table %s has indexes and constraints under names of its own, for ON CONFLICT ON CONSTRAINT",
							  new_name));
	return lappend(result,
				   zdm_note(false, "rollback drops table %s, also where you have made it", new_name));
}

const ZdmPattern zdm_rename_table_dual_write_pattern = {
	.name = "rename_table",
	.strategy = "dual_write",
	.check = check,
	.expand = expand,
	.complete = complete,
	.migrate = migrate,
	.statements = statements,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.locks = locks,
	.attached = attached,
	.added = added,
	.guard = guard,
	.mend = mend,
	.privileges = privileges,
	.notes = notes,
};
