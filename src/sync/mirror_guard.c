/*-------------------------------------------------------------------------
 *
 * mirror_guard.c
 *	  Foreign keys that both tables have are checked once for a write.
 *
 * A column of either table that refers to a third one mostly does so in both:
 * the second table has the first's foreign keys, the column of a join table
 * the same as the column it becomes.  The server checks the row here before our
 * trigger fires, by its name, and what the row refers to is locked from then on
 * until the transaction ends.  The row there gets the same value, so its check
 * would look for the same row and take the same lock: it is left out, and with
 * it half of what a mirrored write adds to one without.
 *
 * That holds where the foreign key here, the guard, refers by the same operator
 * to the same column, is not deferrable, and its triggers fire as ours does;
 * and for a row only whose column the server has just checked: a new one, or
 * another value than before.  A row that a trigger has written again meanwhile
 * is checked there as any other, and so are rows of a backfill.  Guards have a
 * single column, as nearly all foreign keys do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#include "sync/mirror.h"

static bool is_checked_at_once(Relation rel, Oid constraint);
static bool is_check(const Trigger *trigger, Oid constraint);
static int	guard_of(const ZdmMirror *mirror, const AttrNumber *attnums,
					 const ForeignKeyCacheInfo *key);

/*
 * Find the guards of a rule among the foreign keys of its table here, or the
 * partition.
 */
void
zdm_mirror_compile_guards(Relation rel, ZdmMirror *mirror)
{
	ListCell   *lc;

	foreach(lc, RelationGetFKeyList(rel))
	{
		ForeignKeyCacheInfo *key = lfirst(lc);

		for (int i = mirror->keys; i < mirror->count; i++)
		{
			ZdmMirrorGuard *guard = &mirror->guards[mirror->guard_count];

			if (key->nkeys != 1 || key->conkey[0] != mirror->columns[i].attnum ||
				mirror->guard_count == ZDM_MIRROR_GUARDS || !is_checked_at_once(rel, key->conoid))
				continue;
			guard->column = i;
			guard->refers_to = key->confrelid;
			guard->referred = key->confkey[0];
			guard->equals = key->conpfeqop[0];
			mirror->guard_count++;
		}
	}
}

/*
 * Whether both of its checks fire for each row, by the statement's end.
 */
static bool
is_checked_at_once(Relation rel, Oid constraint)
{
	int			checks = 0;

	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (is_check(trigger, constraint) && !trigger->tgdeferrable &&
			(trigger->tgenabled == TRIGGER_FIRES_ON_ORIGIN || trigger->tgenabled == TRIGGER_FIRES_ALWAYS))
			checks++;
	}
	return checks == 2;
}

static bool
is_check(const Trigger *trigger, Oid constraint)
{
	return trigger->tgconstraint == constraint &&
		(trigger->tgfoid == F_RI_FKEY_CHECK_INS || trigger->tgfoid == F_RI_FKEY_CHECK_UPD);
}

/*
 * Those guards, as a set of bits, that have been checked for a row which has
 * come here by a statement; before is NULL where that has inserted it.
 */
uint32
zdm_mirror_checked(const ZdmMirror *mirror, const ZdmMirrorRow *before,
				   const ZdmMirrorRow *after)
{
	uint32		checked = 0;

	for (int i = 0; i < mirror->guard_count; i++)
	{
		int			column = mirror->guards[i].column;

		if (before == NULL || !zdm_mirror_same(mirror, before, after, column, column + 1))
			checked |= (uint32) 1 << i;
	}
	return checked;
}

/*
 * For each of the other table's triggers the guards, as bits, by which it need
 * not fire, in the current memory context; NULL where there are none.
 */
uint32 *
zdm_mirror_guarded(const ZdmMirror *mirror, Relation there, const AttrNumber *attnums,
				   const TriggerDesc *triggers)
{
	uint32	   *guarded = NULL;
	ListCell   *lc;

	foreach(lc, triggers == NULL ? NIL : RelationGetFKeyList(there))
	{
		ForeignKeyCacheInfo *key = lfirst(lc);
		int			guard = guard_of(mirror, attnums, key);

		if (guard < 0)
			continue;
		if (guarded == NULL)
			guarded = palloc0_array(uint32, triggers->numtriggers);
		for (int i = 0; i < triggers->numtriggers; i++)
			if (is_check(&triggers->triggers[i], key->conoid))
				guarded[i] |= (uint32) 1 << guard;
	}
	return guarded;
}

static int
guard_of(const ZdmMirror *mirror, const AttrNumber *attnums, const ForeignKeyCacheInfo *key)
{
	for (int i = 0; i < mirror->guard_count; i++)
	{
		const ZdmMirrorGuard *guard = &mirror->guards[i];

		if (key->nkeys == 1 && key->conkey[0] == attnums[guard->column] &&
			key->confrelid == guard->refers_to && key->confkey[0] == guard->referred &&
			key->conpfeqop[0] == guard->equals)
			return i;
	}
	return -1;
}

/*
 * The triggers that have to fire for a row whose guards have been checked:
 * the same, or a copy in the current memory context that refers to them; NULL
 * where there are none.
 */
TriggerDesc *
zdm_mirror_unguarded(TriggerDesc *triggers, const uint32 *guarded, uint32 checked)
{
	TriggerDesc *rest;

	if (guarded == NULL || checked == 0)
		return triggers;
	rest = palloc_object(TriggerDesc);
	*rest = *triggers;
	rest->triggers = palloc_array(Trigger, triggers->numtriggers);
	rest->numtriggers = 0;
	for (int i = 0; i < triggers->numtriggers; i++)
		if ((guarded[i] & checked) == 0)
			rest->triggers[rest->numtriggers++] = triggers->triggers[i];
	return rest->numtriggers > 0 ? rest : NULL;
}
