/*-------------------------------------------------------------------------
 *
 * mirror_undo.c
 *	  A write here whose counterpart was left out is taken back.
 *
 * A BEFORE ROW trigger of the application's that returns NULL leaves a write
 * out.  Of one table that would be all; of two it is left out in the other
 * one, when it has been done here.  So it is undone here, in the same
 * statement: the row becomes what the other table says, and no more than this
 * statement has done to it is taken back.  The statement counts it all the
 * same, and its RETURNING shows it.
 *
 * An undoing has nothing undone in turn, or two tables of which each has such
 * a trigger would never come to an end.  Where that leaves the two tables
 * different, because a trigger here skips it as well, or because a constraint is
 * in its way (the row refers to one that has gone meanwhile), there is a
 * warning: the application's statement does not fail for it.  Since either
 * table may be dropped some day for what the other one has, the row is
 * remembered (mirror_difference.c) until somebody has compared them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "catalog/mirror_difference.h"
#include "sync/mirror.h"
#include "util/ident.h"
#include "util/spi.h"

typedef struct Undoing
{
	ZdmMirror  *mirror;
	ZdmMirrorAction action;
	const ZdmMirrorRow *row;
	const ZdmMirrorRow *before;
	const ZdmMirrorRow *gone;	/* a row here that goes before, or NULL */
} Undoing;

static bool undoing = false;

static bool is_still(ZdmMirror *mirror, const ZdmMirrorRow *before);
static void undo(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row,
				 const ZdmMirrorRow *before);
static bool show(ZdmMirror *mirror, const ZdmMirrorRow *key);
static bool is_changed_there(const ZdmMirror *mirror);
static bool is_shown(ZdmMirror *mirror, const ZdmMirrorRow *row);
static void take_back(Undoing *arg);
static ErrorData *attempt(Undoing *arg);
static void attempt_action(void *arg);
static bool agree(ZdmMirror *mirror, const ZdmMirrorRow *key);
static void leave_different(ZdmMirror *mirror, const ZdmMirrorRow *key, const char *reason);
static char *key_text(const ZdmMirror *mirror, const ZdmMirrorRow *key);

/*
 * Insert the row there.  Where it has become something else, the row here
 * becomes that; where it was left out, it goes here, too.
 */
void
zdm_mirror_insert_there(ZdmMirror *mirror, const ZdmMirrorRow *after)
{
	ZdmMirrorRow theirs;

	if (zdm_mirror_do(mirror, ZDM_MIRROR_INSERT, after, NULL) > 0)
		return;
	theirs = zdm_mirror_row_copy(mirror, after);
	if (zdm_mirror_lookup(mirror, &theirs, InvalidSnapshot))
		undo(mirror, ZDM_MIRROR_SET_HERE, &theirs, NULL);
	else
		undo(mirror, ZDM_MIRROR_DELETE_HERE, after, NULL);
}

/*
 * Delete the row there.  Where it stays, it comes again here.
 */
void
zdm_mirror_delete_there(ZdmMirror *mirror, const ZdmMirrorRow *before)
{
	if (zdm_mirror_do(mirror, ZDM_MIRROR_DELETE, before, NULL) == 0 && is_still(mirror, before))
		undo(mirror, ZDM_MIRROR_INSERT_HERE, before, NULL);
}

/*
 * An update, or in a second table a delete, that concerned nothing there.
 * Returns false where that is because there is no such row.
 */
bool
zdm_mirror_undo_update(ZdmMirror *mirror, const ZdmMirrorRow *before,
					   const ZdmMirrorRow *after)
{
	ZdmMirrorRow theirs = zdm_mirror_row_copy(mirror, before);

	if (zdm_mirror_has_null(before, 0, mirror->keys) ||
		!zdm_mirror_lookup(mirror, &theirs, InvalidSnapshot))
		return false;
	undo(mirror, zdm_mirror_same(mirror, before, after, 0, mirror->keys)
		 ? ZDM_MIRROR_SET_HERE : ZDM_MIRROR_MOVE_HERE, &theirs, after);
	return true;
}

/*
 * A row of a first table for which the second gets none.
 */
void
zdm_mirror_undo_optional(ZdmMirror *mirror, const ZdmMirrorRow *after)
{
	ZdmMirrorRow none = zdm_mirror_row_copy(mirror, after);

	if (!zdm_mirror_lookup(mirror, &none, InvalidSnapshot))
		memset(none.nulls + mirror->keys, 'n', mirror->optional);
	undo(mirror, ZDM_MIRROR_SET_HERE, &none, NULL);
}

/*
 * Add the row to those that the second table has for one here.  Where it was
 * left out, the one that has made room for it comes again.
 */
void
zdm_mirror_add_there(ZdmMirror *mirror, const ZdmMirrorRow *removed, const ZdmMirrorRow *after)
{
	if (zdm_mirror_do(mirror, ZDM_MIRROR_ADD, after, NULL) > 0)
		return;
	CommandCounterIncrement();
	if (zdm_mirror_member(mirror, after, GetLatestSnapshot()))
		return;
	if (removed != NULL)
		zdm_mirror_do(mirror, ZDM_MIRROR_ADD, removed, NULL);
	zdm_mirror_undo_optional(mirror, after);
}

/*
 * A row of a second table has gone, or has another key, and nothing was
 * cleared in the first.  Returns false where there was nothing to be cleared.
 */
bool
zdm_mirror_undo_clear(ZdmMirror *mirror, const ZdmMirrorRow *before,
					  const ZdmMirrorRow *after)
{
	if (!is_still(mirror, before))
		return false;
	undo(mirror, after == NULL ? ZDM_MIRROR_INSERT_HERE : ZDM_MIRROR_MOVE_HERE, before, after);
	return true;
}

/*
 * The first table's columns were not set.  Returns false where that is because
 * there is no such row.
 */
bool
zdm_mirror_undo_set(ZdmMirror *mirror, const ZdmMirrorRow *before,
					const ZdmMirrorRow *after)
{
	ZdmMirrorRow theirs = zdm_mirror_row_copy(mirror, after);

	if (!zdm_mirror_lookup(mirror, &theirs, InvalidSnapshot))
		return false;
	if (before == NULL)
		undo(mirror, ZDM_MIRROR_DELETE_HERE, after, NULL);
	else if (zdm_mirror_same(mirror, before, after, 0, mirror->keys))
		undo(mirror, ZDM_MIRROR_SET_HERE, before, NULL);
	else
	{
		/* The row that it had before was cleared. */
		zdm_mirror_do(mirror, ZDM_MIRROR_SET, before, NULL);
		undo(mirror, ZDM_MIRROR_MOVE_HERE, before, after);
	}
	return true;
}

/*
 * The second table has several rows for a key: have the first show one of
 * those that there are now, unless the statement has written that as well
 * (both), and it is mirrored in turn.  Where the first shows none of them
 * then, the write here is taken back.  Returns false where the first has no
 * row for after.
 */
bool
zdm_mirror_show_there(ZdmMirror *mirror, const ZdmMirrorRow *before,
					  const ZdmMirrorRow *after, bool both)
{
	bool		same_key = before != NULL && after != NULL &&
		zdm_mirror_same(mirror, before, after, 0, mirror->keys);
	bool		shown = true;
	bool		is_there = true;
	Undoing		arg = {.mirror = mirror};

	if (both && ((before != NULL && zdm_mirror_is_newer(mirror, before, before)) ||
				 (after != NULL && !same_key && zdm_mirror_is_newer(mirror, after, NULL))))
		return true;
	if (before != NULL && !same_key)
		shown = show(mirror, before);
	if (after != NULL)
		is_there = show(mirror, after);
	if ((shown && is_there && !is_changed_there(mirror)) ||
		(is_shown(mirror, before) && is_shown(mirror, after)))
		return is_there;
	arg.action = before != NULL ? ZDM_MIRROR_INSERT_HERE : ZDM_MIRROR_DELETE_HERE;
	arg.row = before != NULL ? before : after;
	arg.gone = before != NULL ? after : NULL;
	take_back(&arg);
	return is_there;
}

/*
 * The first row that there is now for a key, or none.  The first table's row is
 * mostly locked already; else nobody else may write either meanwhile.  Returns
 * whether that has been written.
 */
static bool
show(ZdmMirror *mirror, const ZdmMirrorRow *key)
{
	ZdmMirrorRow first = zdm_mirror_row_copy(mirror, key);

	if (zdm_mirror_has_null(key, 0, mirror->keys))
		return false;
	zdm_mirror_do(mirror, ZDM_MIRROR_LOCK, key, NULL);
	if (!zdm_mirror_lookup(zdm_mirror_self(mirror), &first, InvalidSnapshot))
		memset(first.nulls + mirror->keys, 'n', mirror->count - mirror->keys);
	return zdm_mirror_do(mirror, ZDM_MIRROR_SHOW, &first, NULL) > 0;
}

/*
 * Whether a trigger might make something else of what is written there.
 */
static bool
is_changed_there(const ZdmMirror *mirror)
{
	Relation	there = table_open(mirror->there, AccessShareLock);
	bool		result = there->trigdesc != NULL && there->trigdesc->trig_update_before_row;

	table_close(there, NoLock);
	return result;
}

/*
 * Whether the first table shows one of the rows for a key, unless it has not
 * come yet, or has gone.
 */
static bool
is_shown(ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	CommandCounterIncrement();
	return row == NULL || !zdm_mirror_exists(mirror, row, GetLatestSnapshot()) || agree(mirror, row);
}

/*
 * Whether the other table has the row, with the optional columns as it was.
 */
static bool
is_still(ZdmMirror *mirror, const ZdmMirrorRow *before)
{
	ZdmMirrorRow theirs = zdm_mirror_row_copy(mirror, before);

	return !zdm_mirror_has_null(before, 0, mirror->keys) &&
		zdm_mirror_lookup(mirror, &theirs, InvalidSnapshot) &&
		zdm_mirror_same(mirror, &theirs, before, mirror->keys, mirror->keys + mirror->optional);
}

static void
undo(ZdmMirror *mirror, ZdmMirrorAction action, const ZdmMirrorRow *row,
	 const ZdmMirrorRow *before)
{
	Undoing		arg = {.mirror = mirror,.action = action,.row = row,.before = before};

	take_back(&arg);
}

/*
 * Undo it, and see that the tables agree in the row by then, under either key.
 */
static void
take_back(Undoing *arg)
{
	ZdmMirror  *mirror = arg->mirror;
	const ZdmMirrorRow *other = arg->before != NULL ? arg->before : arg->gone;
	ErrorData  *error;
	const char *skipped = "What was to take it back has not made them equal: triggers have skipped or changed that, too.";

	if (undoing)
	{
		if (!agree(mirror, arg->row))
			leave_different(mirror, arg->row, "It was written to take another row back.");
		return;
	}
	error = attempt(arg);
	if (error != NULL && ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION)
		ReThrowError(error);
	if (error != NULL)
		leave_different(mirror, arg->row, psprintf("It could not be taken back: %s", error->message));
	else if (!agree(mirror, arg->row))
		leave_different(mirror, arg->row, skipped);
	else if (other != NULL && !agree(mirror, other))
		leave_different(mirror, other, skipped);
	if (error != NULL)
		FreeErrorData(error);
}

/*
 * Returns the error where that has failed, else NULL.
 */
static ErrorData *
attempt(Undoing *arg)
{
	ErrorData  *error = NULL;

	undoing = true;
	PG_TRY();
	{
		(void) zdm_attempt(attempt_action, arg, &error);
	}
	PG_FINALLY();
	{
		undoing = false;
	}
	PG_END_TRY();
	return error;
}

static void
attempt_action(void *arg)
{
	Undoing    *this = arg;

	if (this->gone != NULL)
		zdm_mirror_do(this->mirror, ZDM_MIRROR_DELETE_HERE, this->gone, NULL);
	zdm_mirror_do(this->mirror, this->action, this->row, this->before);
}

/*
 * Whether the two tables have the same for a key.
 */
static bool
agree(ZdmMirror *mirror, const ZdmMirrorRow *key)
{
	ZdmMirror  *self = zdm_mirror_self(mirror);
	ZdmMirror  *to_first = mirror->is_first ? self : mirror;
	ZdmMirror  *to_second = mirror->is_first ? mirror : self;
	ZdmMirrorRow first = zdm_mirror_row_copy(mirror, key);
	ZdmMirrorRow second = zdm_mirror_row_copy(mirror, key);
	bool		has_first,
				has_second;

	if (zdm_mirror_has_null(key, 0, mirror->keys))
		return true;
	has_first = zdm_mirror_lookup(to_first, &first, InvalidSnapshot) &&
		!zdm_mirror_has_null(&first, mirror->keys, mirror->keys + mirror->optional);
	has_second = zdm_mirror_lookup(to_second, &second, InvalidSnapshot);
	if (has_first != has_second)
		return false;
	if (has_first && mirror->several)
		return zdm_mirror_member(to_second, &first, GetLatestSnapshot());
	return !has_first || zdm_mirror_same(mirror, &first, &second, mirror->keys, mirror->count);
}

static void
leave_different(ZdmMirror *mirror, const ZdmMirrorRow *key, const char *reason)
{
	char	   *row = key_text(mirror, key);

	zdm_mirror_difference_insert(mirror->migration_id, mirror->here, row);
	ereport(WARNING,
			errmsg("a trigger of table \"%s\" has skipped a row that table \"%s\" has written, and the two differ: %s",
				   get_rel_name(mirror->there), get_rel_name(mirror->here), row),
			errdetail("%s", reason),
			errhint("SELECT * FROM zdm.verify(%s) shows the row; write it so that both tables agree.",
					quote_literal_cstr(mirror->migration)));
}

/*
 * The row's key, for people, as zdm_row_key() has that of a primary key.
 */
static char *
key_text(const ZdmMirror *mirror, const ZdmMirrorRow *key)
{
	List	   *texts = NIL;

	for (int i = 0; i < mirror->keys; i++)
	{
		Oid			output;
		bool		varlena;

		getTypeOutputInfo(mirror->columns[i].type, &output, &varlena);
		texts = lappend(texts, psprintf("%s=%s", quote_identifier(mirror->columns[i].name),
										key->nulls[i] == 'n' ? "null"
										: OidOutputFunctionCall(output, key->values[i])));
	}
	return zdm_join(texts, ", ");
}
