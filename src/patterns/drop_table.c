/*-------------------------------------------------------------------------
 *
 * drop_table.c
 *	  Drop a table that an application stops using.
 *
 * expand	nothing: the old version goes on to use the table
 * migrate	nothing
 * contract	the table goes.  With a quarantine it takes a name that nobody
 *			knows, so that whoever still uses it gets an error at once, while
 *			the rows are there.
 * finish	the table goes
 * rollback	it gets its name back; nothing has happened to it
 *
 * The server removes the files when the transaction has given back its locks,
 * so the size of the table does not matter to anybody who waits.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/pg_class.h"
#include "commands/extension.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "patterns/pattern.h"
#include "schema/depend.h"
#include "schema/drop.h"
#include "schema/table.h"
#include "schema/usage.h"
#include "util/guc.h"
#include "util/ident.h"

/* What is noted at expand: how often the table had been used by then. */
#define READS	"_reads"
#define WRITES	"_writes"

static const char *
table_name(ZdmMigration *migration)
{
	return zdm_argument(migration, "table_name");
}

static char *
hidden_name(ZdmMigration *migration)
{
	return zdm_hidden_name(table_name(migration));
}

static void
note_usage(ZdmMigration *migration)
{
	ZdmUsage	usage = zdm_table_usage(migration->relation);

	if (zdm_argument(migration, READS) != NULL)
		return;
	zdm_set_argument(migration, READS, psprintf(INT64_FORMAT, usage.reads));
	zdm_set_argument(migration, WRITES, psprintf(INT64_FORMAT, usage.writes));
}

static void
check(ZdmMigration *migration, Relation rel)
{
	Oid			extension = getExtensionOfObject(RelationRelationId, migration->relation);

	zdm_check_shape(rel);
	if (OidIsValid(extension))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" belongs to extension \"%s\"",
					   RelationGetRelationName(rel), get_extension_name(extension)),
				errhint("DROP EXTENSION, or ALTER EXTENSION %s DROP TABLE %s; first.",
						quote_identifier(get_extension_name(extension)),
						zdm_quote_relation(migration->relation)));
	if (OidIsValid(get_relname_relid(hidden_name(migration), RelationGetNamespace(rel))))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("relation \"%s\" already exists", hidden_name(migration)),
				errdetail("Table \"%s\" would have that name in a quarantine.",
						  RelationGetRelationName(rel)),
				errhint("Rename that one first."));
	note_usage(migration);
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	return NIL;
}

static ZdmStep *
drop_table(ZdmMigration *migration)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "drop the table",
					psprintf("DROP TABLE %s", zdm_quote_relation(migration->relation)));
}

static ZdmStep *
rename_to(ZdmMigration *migration, const char *description, const char *to)
{
	return zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, description,
					psprintf("ALTER TABLE %s RENAME TO %s",
							 zdm_quote_relation(migration->relation), quote_identifier(to)));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	return list_make1(quarantine ? rename_to(migration, "hide the table", hidden_name(migration))
					  : drop_table(migration));
}

static List *
finish(ZdmMigration *migration)
{
	return list_make1(drop_table(migration));
}

static List *
rollback(ZdmMigration *migration)
{
	if (migration->state != ZDM_CONTRACTED)
		return NIL;
	return list_make1(rename_to(migration, "give the table its name back",
								table_name(migration)));
}

static void
check_name_is_free(ZdmMigration *migration)
{
	Oid			other = get_relname_relid(table_name(migration),
										  get_rel_namespace(migration->relation));

	if (migration->state == ZDM_CONTRACTED && OidIsValid(other))
		ereport(ERROR,
				errcode(ERRCODE_DUPLICATE_TABLE),
				errmsg("cannot roll back migration \"%s\": the name \"%s\" has been given to another relation",
					   migration->name, table_name(migration)),
				errhint("Rename that one, and run the same call again."));
}

/*
 * What is in the way of dropping the table: what needs it, and other
 * migrations in flight.
 */
static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	List	   *result;
	ListCell   *lc;

	if (phase == ZDM_ROLLBACK)
	{
		check_name_is_free(migration);
		return NIL;
	}
	result = zdm_drop_of_table(migration->relation)->in_the_way;
	foreach(lc, zdm_migrations_on(migration->relation))
	{
		ZdmMigration *other = lfirst(lc);

		if (other->id != migration->id)
			result = lappend(result, psprintf("migration \"%s\"", other->name));
	}
	if (phase == ZDM_CONTRACT && !zdm_ignore_mentions)
		result = list_concat(result,
							 zdm_mention_lines(zdm_functions_mentioning(migration->relation, NULL)));
	return result;
}

/*
 * A foreign key that goes with the table is one of another table, too.
 */
static List *
also_locked(ZdmMigration *migration, ZdmPhase phase, bool quarantine)
{
	bool		drops = phase == ZDM_FINISH || (phase == ZDM_CONTRACT && !quarantine);

	return drops ? zdm_drop_of_table(migration->relation)->referenced : NIL;
}

static int64
noted(ZdmMigration *migration, const char *name)
{
	const char *value = zdm_argument(migration, name);

	return value ? strtoll(value, NULL, 10) : 0;
}

/*
 * Somebody may not know yet that the table goes.
 */
static List *
cautions(ZdmMigration *migration, ZdmPhase phase)
{
	ZdmUsage	before = {.reads = noted(migration, READS),.writes = noted(migration, WRITES)};
	ZdmUsage	since;

	if (phase != ZDM_CONTRACT)
		return NIL;
	since = zdm_usage_since(zdm_table_usage(migration->relation), before);
	if (since.reads == 0 && since.writes == 0)
		return NIL;
	return list_make1(psprintf("table \"%s\" has been used since expand: scans " INT64_FORMAT ", rows written " INT64_FORMAT,
							   table_name(migration), since.reads, since.writes));
}

static void
guard(ZdmMigration *migration, Relation rel)
{
	const char *expected = migration->state == ZDM_CONTRACTED ? hidden_name(migration)
		: table_name(migration);

	if (strcmp(RelationGetRelationName(rel), expected) != 0)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("table \"%s\" cannot be renamed while migration \"%s\" is in flight",
					   expected, migration->name),
				zdm_hint_rollback(migration));
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	const char *name = quote_identifier(table_name(migration));
	ZdmDrop    *drop = zdm_drop_of_table(migration->relation);
	List	   *functions = zdm_functions_mentioning(migration->relation, NULL);
	List	   *result = zdm_drop_notes(drop, functions, "table", name);

	if (rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		result = lappend(result,
						 zdm_note(true, "in a quarantine the partitions of table %s keep their names", name));
	if (zdm_is_published(migration->relation))
		result = lappend(result,
						 zdm_note(true, "the table is published: in a quarantine it is published as %s, which subscribers lack, so a change of a row stops replication",
								  quote_identifier(hidden_name(migration))));
	result = lappend(result,
					 zdm_note(false, "from contract on a statement that names table %s fails; in a quarantine zdm.rollback gives it back",
							  name));
	result = lappend(result,
					 zdm_note(false, "in a quarantine its sequences, indexes and constraints keep their names: another table cannot use them yet"));
	return lappend(result,
				   zdm_note(false, "the files are removed after the locks are given back; a standby removes them while it replays the commit"));
}

const ZdmPattern zdm_drop_table_pattern = {
	.name = "drop_table",
	.check = check,
	.expand = expand,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.attached = attached,
	.also_locked = also_locked,
	.cautions = cautions,
	.guard = guard,
	.notes = notes,
};
