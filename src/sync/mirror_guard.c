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
 * A row that is read from one table and written to the other, under the lock of
 * the first table's row, must not be checked.  The check would wait for whoever
 * deletes the row that is referred to, and he waits for our lock, since the row
 * that was read is his to delete as well.  It need not be, either: until we
 * are done he cannot have done so, and when he does, his trigger has its turn,
 * and gives the other table what is left.  If he fails, the row is right.
 * But a BEFORE trigger of the application may write something else, which is
 * for the server to check.  So for that one statement the check gets a
 * condition: that the row is not as it was given.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "nodes/makefuncs.h"
#include "rewrite/prs2lock.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "schema/relation.h"
#include "sync/mirror.h"

static bool is_checked_at_once(Relation rel, Oid constraint);
static bool is_checked(Relation rel, Oid constraint, bool *deferrable);
static bool is_check(const Trigger *trigger, Oid constraint);
static int	guard_of(const ZdmMirror *mirror, const AttrNumber *attnums,
					 const ForeignKeyCacheInfo *key);
static void spare_checks(const ZdmMirror *mirror, const ZdmMirrorRow *row,
						 ResultRelInfo *info, Relation source);
static bool has_same_key(Relation source, AttrNumber attnum, const ForeignKeyCacheInfo *key);
static bool is_valid(Oid constraint);
static char *differs_from(const ZdmMirrorColumn *column, Form_pg_attribute attr,
						  Datum value, bool isnull);

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
	bool		deferrable;

	return is_checked(rel, constraint, &deferrable) && !deferrable;
}

/*
 * Whether both fire, and whether they may do so as late as at the commit.
 */
static bool
is_checked(Relation rel, Oid constraint, bool *deferrable)
{
	int			checks = 0;

	*deferrable = false;
	for (int i = 0; rel->trigdesc != NULL && i < rel->trigdesc->numtriggers; i++)
	{
		Trigger    *trigger = &rel->trigdesc->triggers[i];

		if (!is_check(trigger, constraint) ||
			(trigger->tgenabled != TRIGGER_FIRES_ON_ORIGIN && trigger->tgenabled != TRIGGER_FIRES_ALWAYS))
			continue;
		*deferrable |= trigger->tgdeferrable;
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

/*
 * A statement that gives a row what was read from the other table is going to
 * run: spare it the checks that this one has had.
 */
void
zdm_mirror_spare_checks(const ZdmMirror *mirror, ZdmMirrorAction action,
						const ZdmMirrorRow *row, EState *estate)
{
	Oid			target = zdm_mirror_target(mirror, action);
	Relation	source = table_open(target == mirror->here ? mirror->there : mirror->here,
									AccessShareLock);
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	ListCell   *lc;

	/* A rule of the application's may have it write other tables, too. */
	foreach(lc, estate->es_opened_result_relations)
	{
		ResultRelInfo *info = lfirst(lc);
		Oid			relid = RelationGetRelid(info->ri_RelationDesc);

		if (info->ri_TrigDesc != NULL && (relid == target || zdm_root_table(relid) == target))
			spare_checks(mirror, row, info, source);
	}
	MemoryContextSwitchTo(old);
	table_close(source, NoLock);
}

static void
spare_checks(const ZdmMirror *mirror, const ZdmMirrorRow *row, ResultRelInfo *info,
			 Relation source)
{
	Relation	rel = info->ri_RelationDesc;
	bool		from_here = RelationGetRelid(source) == mirror->here;
	TriggerDesc *triggers = info->ri_TrigDesc;
	ListCell   *lc;

	for (int i = mirror->keys; i < mirror->count; i++)
	{
		const ZdmMirrorColumn *column = &mirror->columns[i];
		AttrNumber	written = get_attnum(RelationGetRelid(rel), from_here ? column->there : column->name);
		AttrNumber	read = get_attnum(RelationGetRelid(source), from_here ? column->name : column->there);
		Form_pg_attribute attr;

		if (written <= 0 || read <= 0)
			continue;
		attr = TupleDescAttr(RelationGetDescr(rel), written - 1);
		foreach(lc, attr->atttypid == column->type ? RelationGetFKeyList(rel) : NIL)
		{
			ForeignKeyCacheInfo *key = lfirst(lc);

			if (key->nkeys != 1 || key->conkey[0] != written || !has_same_key(source, read, key))
				continue;
			for (int j = 0; j < triggers->numtriggers; j++)
				if (is_check(&triggers->triggers[j], key->conoid))
					triggers->triggers[j].tgqual = differs_from(column, attr, row->values[i],
																row->nulls[i] == 'n');
		}
	}
}

/*
 * Whether all that the column has refers to what the foreign key refers to, at
 * the latest when the transaction commits.
 */
static bool
has_same_key(Relation source, AttrNumber attnum, const ForeignKeyCacheInfo *key)
{
	ListCell   *lc;
	bool		deferrable;

	foreach(lc, RelationGetFKeyList(source))
	{
		ForeignKeyCacheInfo *other = lfirst(lc);

		if (other->nkeys == 1 && other->conkey[0] == attnum &&
			other->confrelid == key->confrelid && other->confkey[0] == key->confkey[0] &&
			other->conpfeqop[0] == key->conpfeqop[0] &&
			is_checked(source, other->conoid, &deferrable) && is_valid(other->conoid))
			return true;
	}
	return false;
}

static bool
is_valid(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		result = HeapTupleIsValid(tuple) &&
		((Form_pg_constraint) GETSTRUCT(tuple))->convalidated;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

/*
 * As the WHEN of a trigger: the row's new value is not that one.
 */
static char *
differs_from(const ZdmMirrorColumn *column, Form_pg_attribute attr, Datum value, bool isnull)
{
	Oid			equals = lookup_type_cache(attr->atttypid, TYPECACHE_EQ_OPR)->eq_opr;
	DistinctExpr *expr = makeNode(DistinctExpr);
	Var		   *var = makeVar(PRS2_NEW_VARNO, attr->attnum, attr->atttypid, attr->atttypmod,
							  attr->attcollation, 0);
	Const	   *given = makeConst(attr->atttypid, attr->atttypmod, attr->attcollation,
								  column->typlen, isnull ? (Datum) 0 : value, isnull,
								  column->typbyval);

	expr->opno = equals;
	expr->opfuncid = get_opcode(equals);
	expr->opresulttype = BOOLOID;
	expr->inputcollid = attr->attcollation;
	expr->args = list_make2(var, given);
	expr->location = -1;
	return nodeToString(expr);
}
