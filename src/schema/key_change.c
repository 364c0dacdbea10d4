/*-------------------------------------------------------------------------
 *
 * key_change.c
 *	  A second foreign key that does what the first one does.
 *
 * As long as two columns hold the same, each has its foreign key, and only one
 * of them may act as the user wants it:
 *
 * - SET DEFAULT would set each column to its own default, and the second one
 *	 has none.  The first key's action reaches the second column through the
 *	 sync trigger, so that the second key needs none; but it has to look when
 *	 that is done, at the end of the transaction.
 * - Where a session may defer the first key, it does so by its name.  So the
 *	 second one is deferred from the start.
 * - Triggers of the first key that are disabled, by whoever may, are so of the
 *	 second, or a statement would fail by it that is right by the first.
 *
 * At contract the two exchange these roles.  There is no statement for that,
 * so it is a change of the catalog, under the lock on both tables.
 *
 * A key of partitioned tables has a constraint for each partition on either
 * side, and triggers with each.  Which of two keys' triggers belong together
 * is told by the table and the event.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "access/genam.h"
#include "schema/key_change.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* What a key does, other than to refer. */
typedef struct KeyBehaviour
{
	char		on_update;
	char		on_delete;
	bool		deferrable;
	bool		deferred;
	int			count;			/* of the columns that a deletion sets ... */
	int			places[INDEX_MAX_KEYS]; /* ... where they are in the key */
} KeyBehaviour;

static void read_behaviour(Oid constraint, KeyBehaviour *behaviour);
static KeyBehaviour quiet(const KeyBehaviour *behaviour);
static void exchange(ZdmStep *step);
static void make_quiet(ZdmStep *step);
static List *parts(Oid constraint);
static void set_behaviour(Oid constraint, const KeyBehaviour *behaviour);
static void set_trigger(Relation triggers, HeapTuple trigger, const KeyBehaviour *behaviour);
static Oid	action(Oid now, const KeyBehaviour *behaviour, bool *deferrable);
static void copy_enabled(Oid source, Oid twin);
static void set_enabled(Oid trigger, char enabled);

/*
 * Whether the like of a foreign key is to be quiet: to have no action that
 * sets a default, and to look at the end of the transaction.
 */
bool
zdm_key_is_quiet(Oid constraint)
{
	KeyBehaviour behaviour;

	read_behaviour(constraint, &behaviour);
	return behaviour.deferrable ||
		behaviour.on_update == FKCONSTR_ACTION_SETDEFAULT ||
		behaviour.on_delete == FKCONSTR_ACTION_SETDEFAULT;
}

static void
read_behaviour(Oid constraint, KeyBehaviour *behaviour)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	AttrNumber	keys[INDEX_MAX_KEYS],
				referred[INDEX_MAX_KEYS],
				set[INDEX_MAX_KEYS];
	int			count;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	behaviour->on_update = form->confupdtype;
	behaviour->on_delete = form->confdeltype;
	behaviour->deferrable = form->condeferrable;
	behaviour->deferred = form->condeferred;
	DeconstructFkConstraintRow(tuple, &count, keys, referred, NULL, NULL, NULL,
							   &behaviour->count, set);
	for (int i = 0; i < behaviour->count; i++)
	{
		behaviour->places[i] = 0;
		while (keys[behaviour->places[i]] != set[i])
			behaviour->places[i]++;
	}
	ReleaseSysCache(tuple);
}

static KeyBehaviour
quiet(const KeyBehaviour *behaviour)
{
	KeyBehaviour result = *behaviour;

	if (result.on_update == FKCONSTR_ACTION_SETDEFAULT)
		result.on_update = FKCONSTR_ACTION_NOACTION;
	if (result.on_delete == FKCONSTR_ACTION_SETDEFAULT)
	{
		result.on_delete = FKCONSTR_ACTION_NOACTION;
		result.count = 0;
	}
	result.deferrable = result.deferred = behaviour->deferrable ||
		behaviour->on_update == FKCONSTR_ACTION_SETDEFAULT ||
		behaviour->on_delete == FKCONSTR_ACTION_SETDEFAULT;
	return result;
}

/*
 * Whether its like, so far, does something else than the foreign key does.
 */
bool
zdm_key_differs(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		is_key = HeapTupleIsValid(tuple) &&
		((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_FOREIGN;
	ListCell   *lc;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	if (!is_key)
		return false;
	if (zdm_key_is_quiet(constraint))
		return true;
	foreach(lc, parts(constraint))
	{
		if (zdm_query_strings("SELECT '' FROM pg_catalog.pg_trigger t WHERE t.tgconstraint OPERATOR(pg_catalog.=) $1"
							  " AND t.tgenabled OPERATOR(pg_catalog.<>) 'O'",
							  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(lfirst_oid(lc))))) != NIL)
			return true;
	}
	return false;
}

/*
 * The step by which the twin becomes the key that acts, and the source the
 * quiet one.
 */
ZdmStep *
zdm_key_exchange_step(Oid relid, const char *source, const char *twin)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
								   "let the second column's foreign key do what the column's does",
								   psprintf("-- catalog: foreign key %s of table %s acts as %s does",
											quote_identifier(twin), zdm_quote_relation(relid),
											quote_identifier(source)));

	step->from = pstrdup(source);
	step->to = pstrdup(twin);
	step->change = exchange;
	return step;
}

static void
exchange(ZdmStep *step)
{
	Oid			source = get_relation_constraint_oid(step->relation, step->from, false);
	Oid			twin = get_relation_constraint_oid(step->relation, step->to, false);
	KeyBehaviour acts,
				waits;

	read_behaviour(source, &acts);
	waits = quiet(&acts);
	set_behaviour(twin, &acts);
	set_behaviour(source, &waits);
	copy_enabled(source, twin);
}

/*
 * Whether a key's like is not, or not any more, as quiet as it is to be.
 */
bool
zdm_key_disagrees(Oid source, Oid twin)
{
	KeyBehaviour acts,
				waits,
				is;

	read_behaviour(source, &acts);
	read_behaviour(twin, &is);
	waits = quiet(&acts);
	return is.on_update != waits.on_update || is.on_delete != waits.on_delete ||
		is.deferrable != waits.deferrable || is.deferred != waits.deferred;
}

/*
 * The step by which the twin becomes quiet, or acts again, after the source
 * has been altered.
 */
ZdmStep *
zdm_key_quiet_step(Oid relid, const char *source, const char *twin)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
								   psprintf("let what stands for foreign key \"%s\" go by it", source),
								   psprintf("-- catalog: foreign key %s of table %s waits for %s",
											quote_identifier(twin), zdm_quote_relation(relid),
											quote_identifier(source)));

	step->from = pstrdup(source);
	step->to = pstrdup(twin);
	step->change = make_quiet;
	return step;
}

static void
make_quiet(ZdmStep *step)
{
	KeyBehaviour acts,
				waits;

	read_behaviour(get_relation_constraint_oid(step->relation, step->from, false), &acts);
	waits = quiet(&acts);
	set_behaviour(get_relation_constraint_oid(step->relation, step->to, false), &waits);
}

/*
 * A step's change: the triggers of the key "to" are enabled as those of "from",
 * which may be a partition's parent's, are.
 */
void
zdm_key_follow(ZdmStep *step)
{
	Oid			twin = get_relation_constraint_oid(step->relation, step->to, false);

	copy_enabled((Oid) strtoul(step->from, NULL, 10), twin);
}

/*
 * A step's change: the key "to" has just been validated against a partitioned
 * table as a whole, which older servers do not note for its partitions.
 */
void
zdm_key_validated(ZdmStep *step)
{
	Relation	constraints = table_open(ConstraintRelationId, RowExclusiveLock);
	ListCell   *lc;

	foreach(lc, parts(get_relation_constraint_oid(step->relation, step->to, false)))
	{
		HeapTuple	tuple = SearchSysCacheCopy1(CONSTROID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_constraint form;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for constraint %u", lfirst_oid(lc));
		form = (Form_pg_constraint) GETSTRUCT(tuple);
		if (form->convalidated)
			continue;
		form->convalidated = true;
		CatalogTupleUpdate(constraints, &tuple->t_self, tuple);
	}
	table_close(constraints, RowExclusiveLock);
}

/*
 * A constraint with those of the partitions (oids).
 */
static List *
parts(Oid constraint)
{
	return zdm_oids(zdm_query_strings("WITH RECURSIVE k(oid) AS (SELECT $1 UNION ALL"
									  " SELECT c.oid FROM k JOIN pg_catalog.pg_constraint c"
									  " ON c.conparentid OPERATOR(pg_catalog.=) k.oid)"
									  " SELECT k.oid::pg_catalog.text FROM k",
									  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(constraint)))));
}

static void
set_behaviour(Oid constraint, const KeyBehaviour *behaviour)
{
	Relation	constraints = table_open(ConstraintRelationId, RowExclusiveLock);
	Relation	triggers = table_open(TriggerRelationId, RowExclusiveLock);
	ListCell   *lc;

	foreach(lc, parts(constraint))
	{
		HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(lfirst_oid(lc)));
		Form_pg_constraint form;
		Datum		values[Natts_pg_constraint] = {0};
		bool		nulls[Natts_pg_constraint] = {0};
		bool		replace[Natts_pg_constraint] = {0};
		AttrNumber	keys[INDEX_MAX_KEYS],
					referred[INDEX_MAX_KEYS],
					set[INDEX_MAX_KEYS];
		int			count,
					set_count;
		Datum		columns[INDEX_MAX_KEYS];
		HeapTuple	changed;
		ScanKeyData key;
		SysScanDesc scan;
		HeapTuple	trigger;

		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for constraint %u", lfirst_oid(lc));
		DeconstructFkConstraintRow(tuple, &count, keys, referred, NULL, NULL, NULL, &set_count, set);
		for (int i = 0; i < behaviour->count; i++)
			columns[i] = Int16GetDatum(keys[behaviour->places[i]]);
		replace[Anum_pg_constraint_confdelsetcols - 1] = true;
		nulls[Anum_pg_constraint_confdelsetcols - 1] = behaviour->count == 0;
		if (behaviour->count > 0)
			values[Anum_pg_constraint_confdelsetcols - 1] =
				PointerGetDatum(construct_array(columns, behaviour->count, INT2OID, 2, true, TYPALIGN_SHORT));
		changed = heap_modify_tuple(tuple, RelationGetDescr(constraints), values, nulls, replace);
		ReleaseSysCache(tuple);
		form = (Form_pg_constraint) GETSTRUCT(changed);
		form->confupdtype = behaviour->on_update;
		form->confdeltype = behaviour->on_delete;
		form->condeferrable = behaviour->deferrable;
		form->condeferred = behaviour->deferred;
		CatalogTupleUpdate(constraints, &changed->t_self, changed);

		ScanKeyInit(&key, Anum_pg_trigger_tgconstraint, BTEqualStrategyNumber, F_OIDEQ,
					ObjectIdGetDatum(lfirst_oid(lc)));
		scan = systable_beginscan(triggers, TriggerConstraintIndexId, true, NULL, 1, &key);
		while (HeapTupleIsValid(trigger = systable_getnext(scan)))
			set_trigger(triggers, heap_copytuple(trigger), behaviour);
		systable_endscan(scan);
		CacheInvalidateRelcacheByRelid(form->conrelid);
		CacheInvalidateRelcacheByRelid(form->confrelid);
	}
	table_close(triggers, RowExclusiveLock);
	table_close(constraints, RowExclusiveLock);
	CommandCounterIncrement();
}

/*
 * As the server makes them: only what checks may be deferred.
 */
static void
set_trigger(Relation triggers, HeapTuple trigger, const KeyBehaviour *behaviour)
{
	Form_pg_trigger form = (Form_pg_trigger) GETSTRUCT(trigger);
	bool		deferrable = true;

	form->tgfoid = action(form->tgfoid, behaviour, &deferrable);
	form->tgdeferrable = deferrable && behaviour->deferrable;
	form->tginitdeferred = deferrable && behaviour->deferred;
	CatalogTupleUpdate(triggers, &trigger->t_self, trigger);
	CacheInvalidateRelcacheByRelid(form->tgrelid);
}

/*
 * The function that does what the key does on the event on which the trigger
 * has now another.
 */
static Oid
action(Oid now, const KeyBehaviour *behaviour, bool *deferrable)
{
	static const struct
	{
		char		type;
		Oid			on_delete;
		Oid			on_update;
	}			functions[] = {
		{FKCONSTR_ACTION_NOACTION, F_RI_FKEY_NOACTION_DEL, F_RI_FKEY_NOACTION_UPD},
		{FKCONSTR_ACTION_RESTRICT, F_RI_FKEY_RESTRICT_DEL, F_RI_FKEY_RESTRICT_UPD},
		{FKCONSTR_ACTION_CASCADE, F_RI_FKEY_CASCADE_DEL, F_RI_FKEY_CASCADE_UPD},
		{FKCONSTR_ACTION_SETNULL, F_RI_FKEY_SETNULL_DEL, F_RI_FKEY_SETNULL_UPD},
		{FKCONSTR_ACTION_SETDEFAULT, F_RI_FKEY_SETDEFAULT_DEL, F_RI_FKEY_SETDEFAULT_UPD},
	};
	char		wanted = '\0';
	bool		deletes = false;

	for (int i = 0; i < (int) lengthof(functions); i++)
	{
		if (now != functions[i].on_delete && now != functions[i].on_update)
			continue;
		deletes = now == functions[i].on_delete;
		wanted = deletes ? behaviour->on_delete : behaviour->on_update;
	}
	for (int i = 0; i < (int) lengthof(functions); i++)
	{
		if (wanted != functions[i].type)
			continue;
		*deferrable = wanted == FKCONSTR_ACTION_NOACTION;
		return deletes ? functions[i].on_delete : functions[i].on_update;
	}
	return now;					/* one that checks the referring side */
}

static void
copy_enabled(Oid source, Oid twin)
{
	static const char *const sql =
		"WITH RECURSIVE s(oid) AS (SELECT $1 UNION ALL SELECT c.oid FROM s"
		" JOIN pg_catalog.pg_constraint c ON c.conparentid OPERATOR(pg_catalog.=) s.oid),"
		" t(oid) AS (SELECT $2 UNION ALL SELECT c.oid FROM t"
		" JOIN pg_catalog.pg_constraint c ON c.conparentid OPERATOR(pg_catalog.=) t.oid)"
		" SELECT DISTINCT ON (b.oid) a.tgenabled::pg_catalog.text OPERATOR(pg_catalog.||) b.oid::pg_catalog.text"
		" FROM s JOIN pg_catalog.pg_trigger a ON a.tgconstraint OPERATOR(pg_catalog.=) s.oid"
		" CROSS JOIN t JOIN pg_catalog.pg_trigger b ON b.tgconstraint OPERATOR(pg_catalog.=) t.oid"
		" AND b.tgrelid OPERATOR(pg_catalog.=) a.tgrelid"
		" JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) a.tgfoid"
		" JOIN pg_catalog.pg_proc q ON q.oid OPERATOR(pg_catalog.=) b.tgfoid"
		" WHERE (p.proname OPERATOR(pg_catalog.=) q.proname OR (p.proname OPERATOR(pg_catalog.!~) '^RI_FKey_check'"
		" AND q.proname OPERATOR(pg_catalog.!~) '^RI_FKey_check'"
		" AND pg_catalog.right(p.proname::pg_catalog.text, 4) OPERATOR(pg_catalog.=) pg_catalog.right(q.proname::pg_catalog.text, 4)))"
		" AND a.tgenabled OPERATOR(pg_catalog.<>) b.tgenabled ORDER BY b.oid";
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(source)),
												ZDM_ARG(OIDOID, ObjectIdGetDatum(twin)))))
	{
		char	   *text = lfirst(lc);

		set_enabled((Oid) strtoul(text +1, NULL, 10), text[0]);
	}
	CommandCounterIncrement();
}

static void
set_enabled(Oid trigger, char enabled)
{
	Relation	triggers = table_open(TriggerRelationId, RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_trigger_oid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(trigger));
	scan = systable_beginscan(triggers, TriggerOidIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		tuple = heap_copytuple(tuple);
		((Form_pg_trigger) GETSTRUCT(tuple))->tgenabled = enabled;
		CatalogTupleUpdate(triggers, &tuple->t_self, tuple);
		CacheInvalidateRelcacheByRelid(((Form_pg_trigger) GETSTRUCT(tuple))->tgrelid);
	}
	systable_endscan(scan);
	table_close(triggers, RowExclusiveLock);
}
