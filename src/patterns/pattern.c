/*-------------------------------------------------------------------------
 *
 * pattern.c
 *	  What patterns share.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <stdarg.h>

#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/depend.h"
#include "schema/not_null.h"
#include "schema/table.h"
#include "util/compat.h"
#include "util/ident.h"

/* So many functions are named in a warning, no more. */
#define MOST_FUNCTIONS	10

static List *trigger_notes(ZdmMigration *migration, Relation rel);
static char *some_names(List *functions);

ZdmNote *
zdm_note(bool warn, const char *format,...)
{
	ZdmNote    *note = palloc0_object(ZdmNote);
	StringInfoData buf;

	initStringInfo(&buf);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&buf, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&buf, needed);
	}
	note->warn = warn;
	note->text = buf.data;
	return note;
}

/*
 * What a drop means for others: of the kind "column" or "table", whose name is
 * quoted.  functions (char *) mention it.
 */
List *
zdm_drop_notes(ZdmDrop *drop, List *functions, const char *kind, const char *name)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, drop->in_the_way)
		result = lappend(result,
						 zdm_note(true, "contract is refused as long as there is %s",
								  (char *) lfirst(lc)));
	if (functions != NIL)
		result = lappend(result,
						 zdm_note(true, "contract is refused, but with zdm.ignore_mentions, as long as these functions mention %s %s: %s",
								  kind, name, zdm_names_text(functions)));
	foreach(lc, drop->referenced)
		result = lappend(result,
						 zdm_note(true, "until %s %s is dropped its foreign key holds: a row of table %s that it refers to cannot be deleted",
								  kind, name, quote_identifier(get_rel_name(lfirst_oid(lc)))));
	foreach(lc, drop->along)
		result = lappend(result, zdm_note(false, "with the %s goes %s", kind, (char *) lfirst(lc)));
	return result;
}

/*
 * For ereport(): what to do about a migration that is in the way.
 */
int
zdm_hint_rollback(ZdmMigration *migration)
{
	return errhint("Finish the migration first, or SELECT zdm.rollback(%s);",
				   quote_literal_cstr(migration->name));
}

/*
 * "column" or "columns".
 */
static const char *
columns_word(List *columns)
{
	return list_length(columns) == 1 ? "column" : "columns";
}

/*
 * Whom a second shape in the same row concerns that knows only the first:
 * triggers, subscribers and functions.
 */
List *
zdm_notes_of_others(ZdmMigration *migration, Relation rel)
{
	List	   *result = trigger_notes(migration, rel);
	ListCell   *lc;

	if (zdm_is_published(migration->relation))
		result = lappend(result,
						 zdm_note(true, "the table is published: add %s %s to it on every subscriber first, or replication stops there",
								  columns_word(migration->new_columns),
								  zdm_column_list(migration->new_columns)));
	foreach(lc, migration->old_columns)
		result = list_concat(result, zdm_notes_of_functions(migration->relation, lfirst(lc)));
	return result;
}

static List *
trigger_notes(ZdmMigration *migration, Relation rel)
{
	/* A copy: what is called here may make the relcache build it anew. */
	TriggerDesc *triggers = CopyTriggerDesc(rel->trigdesc);
	char	   *to = zdm_column_list(migration->new_columns);
	List	   *result = NIL;
	ListCell   *lc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		Trigger    *trigger = &triggers->triggers[i];

		foreach(lc, migration->old_columns)
		{
			AttrNumber	attnum = get_attnum(migration->relation, lfirst(lc));

			for (int j = 0; j < trigger->tgnattr; j++)
				if (trigger->tgattr[j] == attnum)
					result = lappend(result,
									 zdm_note(true, "trigger \"%s\" is for UPDATE OF %s: it does not fire for a statement that sets %s alone",
											  trigger->tgname, quote_identifier(lfirst(lc)), to));
		}
		if (!trigger->tgisinternal && zdm_trigger_changes_row(trigger) &&
			strcmp(trigger->tgname, ZDM_SYNC_TRIGGER) != 0)
			result = lappend(result,
							 zdm_note(true, "trigger \"%s\" fires before the columns are made equal: where it reads or sets %s it does not see what a statement gives %s",
									  trigger->tgname, zdm_column_list(migration->old_columns), to));
	}
	return result;
}

/*
 * Functions whose text names the column, or the table where that is NULL, go
 * on to work up to contract.
 */
List *
zdm_notes_of_functions(Oid relid, const char *column)
{
	List	   *functions = zdm_functions_mentioning(relid, column);

	if (functions == NIL)
		return NIL;
	return list_make1(zdm_note(true, "after contract the name %s is gone; these functions mention it: %s",
							   quote_identifier(column ? column : get_rel_name(relid)),
							   some_names(functions)));
}

static char *
some_names(List *functions)
{
	if (list_length(functions) > MOST_FUNCTIONS)
		functions = lappend(list_truncate(functions, MOST_FUNCTIONS), pstrdup("..."));
	return zdm_names_text(functions);
}

/*
 * Functions of triggers that take a row apart fail where they put it into
 * something that has no place for an added column.
 */
List *
zdm_notes_of_rows(Oid relid)
{
	List	   *functions = zdm_functions_with_stars(relid);

	if (functions == NIL)
		return NIL;
	return list_make1(zdm_note(true, "NEW.* and OLD.* of triggers on table %s have what is added from expand on, so that INSERT ... SELECT NEW.* into a table without it fails; name the columns in: %s",
							   zdm_quote_relation(relid), some_names(functions)));
}

/*
 * Functions that return a column under a type which it is not going to have.
 */
List *
zdm_notes_of_results(Oid relid, const char *column)
{
	List	   *functions = zdm_functions_returning(relid, column);

	if (functions == NIL)
		return NIL;
	return list_make1(zdm_note(true, "after contract RETURN QUERY fails where it returns column %s of table %s under its old type, as after any change of a type; cast it in the query, which suits both, in: %s",
							   quote_identifier(column), zdm_quote_relation(relid), some_names(functions)));
}

/*
 * What an added column means for those who name none.
 */
List *
zdm_notes_of_stars(ZdmMigration *migration)
{
	bool		one = list_length(migration->new_columns) == 1;

	return list_concat(zdm_notes_of_rows(migration->relation), list_make2(one
					  ? zdm_note(false, "SELECT * and RETURNING * gain a column at expand: a statement that was prepared with a star fails with \"cached plan must not change result type\" until it is prepared again")
					  : zdm_note(false, "SELECT * and RETURNING * gain columns at expand: a statement that was prepared with a star fails with \"cached plan must not change result type\" until it is prepared again"),
					  one
					  ? zdm_note(false, "COPY without a column list reads and writes the added column, too: name the columns")
					  : zdm_note(false, "COPY without a column list reads and writes the added columns, too: name the columns")));
}

/*
 * What holds as long as rows are being filled.
 */
List *
zdm_notes_of_backfill(ZdmMigration *migration)
{
	return list_make2(zdm_note_conflicts(),
					  zdm_note(false, "the new version may start once the state is ready: before, rows that were not backfilled read NULL in %s",
							   zdm_column_list(migration->new_columns)));
}

/*
 * A migration that is ready to make a column mandatory without a scan must
 * stay so.
 */
void
zdm_guard_not_null(ZdmMigration *migration, const char *column)
{
	if (migration->state == ZDM_READY && !zdm_not_null_proved(migration, column))
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("the check of column \"%s\" of table \"%s\" is needed by migration \"%s\"",
					   column, zdm_relation_label(migration->relation), migration->name),
				errdetail("Without it, making the column NOT NULL would read the whole table under an exclusive lock."),
				zdm_hint_rollback(migration));
}

/*
 * What a rule reads must keep its name and type as long as it is there.
 */
void
zdm_check_fill(ZdmMigration *migration)
{
	zdm_check_read_columns(migration->rules, migration->relation,
						   list_make2(pstrdup(zdm_set_not_null_pattern.name),
									  pstrdup(zdm_drop_not_null_pattern.name)));
}

ZdmNote *
zdm_note_conflicts(void)
{
	return zdm_note(false, "a REPEATABLE READ or SERIALIZABLE transaction that updates a row which the backfill has just filled fails with a serialization error (40001), as after any concurrent update, and is to be tried again");
}

void
zdm_guard_column(ZdmMigration *migration, const char *column)
{
	if (get_attnum(migration->relation, column) == InvalidAttrNumber)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("column \"%s\" of table \"%s\" is needed by migration \"%s\"",
					   column, zdm_relation_label(migration->relation), migration->name),
				zdm_hint_rollback(migration));
}
