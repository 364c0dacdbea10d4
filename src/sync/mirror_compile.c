/*-------------------------------------------------------------------------
 *
 * mirror_compile.c
 *	  Mirror rules of a table, compiled for this backend.
 *
 * As in rule.c: compiled on first use, one set for each table or partition,
 * kept until a relcache invalidation says that the table or a rule on it has
 * changed; a set that is in use is handed to the transaction's memory.  What
 * is compiled here are column numbers; the statements on the other table are
 * prepared when they are needed (mirror_action.c) and go with the set.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "catalog/mirror_rule.h"
#include "sync/mirror.h"
#include "util/compat.h"
#include "util/ident.h"

typedef struct CachedMirrors
{
	Oid			relid;			/* hash key */
	bool		valid;
	ZdmMirrorSet *set;
} CachedMirrors;

static HTAB *cached_mirrors = NULL;

/* How many trigger calls and batches use sets now; 0 at a transaction's end. */
static int	holds = 0;

static void invalidate(Datum arg, Oid relid);
static void at_transaction_end(XactEvent event, void *arg);
static ZdmMirrorSet *compile_set(Relation rel);
static void free_plans(void *arg);
static bool compile_mirror(Relation rel, List *relids, ZdmMirrorRule *rule,
						   ZdmMirror *mirror);
static ZdmMirror *own_mirror(const ZdmMirror *mirror);
static bool compile_columns(Relation rel, List *here, List *there,
							ZdmMirrorColumn *columns);

/*
 * Set up the cache and its invalidation; called once a backend.
 */
void
zdm_mirrors_init(void)
{
	HASHCTL		ctl = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(CachedMirrors),
	};

	cached_mirrors = hash_create("zdm mirrors", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
	RegisterXactCallback(at_transaction_end, NULL);
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		holds = 0;
}

int
zdm_mirrors_hold(void)
{
	return holds++;
}

void
zdm_mirrors_release(int held)
{
	holds = held;
}

/*
 * Whether a trigger call may be under way whose statement has led to us.
 */
bool
zdm_mirrors_nested(void)
{
	return holds > 1;
}

static void
invalidate(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS scan;
	CachedMirrors *table;

	hash_seq_init(&scan, cached_mirrors);
	while ((table = hash_seq_search(&scan)) != NULL)
	{
		if (!OidIsValid(relid) || table->relid == relid)
			table->valid = false;
		for (int i = 0; table->set != NULL && i < table->set->count; i++)
		{
			if (!OidIsValid(relid) || table->set->mirrors[i].there == relid)
				zdm_mirror_direct_forget(&table->set->mirrors[i]);
		}
	}
}

/*
 * The rules that hold for a row of this table: its own, and those of the
 * partitioned tables above it.
 */
ZdmMirrorSet *
zdm_mirrors_get(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	bool		found;
	CachedMirrors *table = hash_search(cached_mirrors, &relid, HASH_ENTER, &found);
	ZdmMirrorSet *stale = found ? table->set : NULL;

	if (found && table->valid && table->set != NULL)
		return table->set;
	table->set = NULL;
	if (stale != NULL && holds > 0)
		MemoryContextSetParent(stale->cxt, TopTransactionContext);
	else if (stale != NULL)
		MemoryContextDelete(stale->cxt);

	/* An invalidation from here on means that the set is stale at once. */
	table->valid = true;
	table->set = compile_set(rel);
	return table->set;
}

/*
 * The same, for work that makes no sense without the migration's rule.
 */
ZdmMirrorSet *
zdm_mirrors_of_migration(Relation rel, const char *migration)
{
	ZdmMirrorSet *set = zdm_mirrors_get(rel);

	for (int i = 0; i < set->count; i++)
	{
		if (strcmp(set->mirrors[i].migration, migration) == 0)
			return set;
	}
	ereport(ERROR,
			errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			errmsg("table \"%s\" is not kept in sync by migration \"%s\"",
				   RelationGetRelationName(rel), migration),
			errdetail("It lacks columns of the migration."),
			errhint("Roll the migration back: SELECT zdm.rollback(%s);",
					quote_literal_cstr(migration)));
}

/*
 * It is the transaction's as long as it is not complete, so that an error
 * leaves nothing behind.
 */
static ZdmMirrorSet *
compile_set(Relation rel)
{
	MemoryContext cxt = AllocSetContextCreate(CurTransactionContext,
											  "zdm mirror set",
											  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(cxt);
	ZdmMirrorSet *set = palloc0_object(ZdmMirrorSet);
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	List	   *rules;
	ListCell   *lc;

	set->cxt = cxt;
	set->release.func = free_plans;
	set->release.arg = set;
	MemoryContextRegisterResetCallback(cxt, &set->release);
	if (rel->rd_rel->relispartition)
		relids = list_concat(relids, get_partition_ancestors(RelationGetRelid(rel)));
	rules = zdm_mirror_rules_on(relids);
	set->mirrors = palloc0_array(ZdmMirror, list_length(rules) + 1);
	if (rules != NIL)
		set->work = MakeSingleTupleTableSlot(CreateTupleDescCopyConstr(RelationGetDescr(rel)),
											 &TTSOpsVirtual);
	foreach(lc, rules)
	{
		if (compile_mirror(rel, relids, lfirst(lc), &set->mirrors[set->count]))
			set->count++;
	}
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, CacheMemoryContext);
	return set;
}

static void
free_plans(void *arg)
{
	ZdmMirrorSet *set = arg;

	for (int i = 0; i < set->count; i++)
	{
		zdm_mirror_drop_plans(&set->mirrors[i]);
		if (set->mirrors[i].own != NULL)
			zdm_mirror_drop_plans(set->mirrors[i].own);
	}
}

/*
 * Returns false where the table no longer has the rule's columns: the
 * application's write is not the one to blame.
 */
static bool
compile_mirror(Relation rel, List *relids, ZdmMirrorRule *rule,
			   ZdmMirror *mirror)
{
	bool		is_first = list_member_oid(relids, rule->first);
	List	   *here_keys = is_first ? rule->first_keys : rule->second_keys;
	List	   *there_keys = is_first ? rule->second_keys : rule->first_keys;
	List	   *here_columns = is_first ? rule->first_columns : rule->second_columns;
	List	   *there_columns = is_first ? rule->second_columns : rule->first_columns;
	ZdmState	state;

	mirror->keys = list_length(here_keys);
	mirror->count = mirror->keys + list_length(here_columns);
	mirror->columns = palloc0_array(ZdmMirrorColumn, mirror->count);
	if (!compile_columns(rel, here_keys, there_keys, mirror->columns) ||
		!compile_columns(rel, here_columns, there_columns, mirror->columns + mirror->keys))
	{
		ereport(WARNING,
				errcode(ERRCODE_UNDEFINED_COLUMN),
				errmsg("table \"%s\" lacks a column of a zdm migration in flight",
					   RelationGetRelationName(rel)),
				errhint("See zdm.status, and roll that migration back."));
		return false;
	}
	zdm_migration_scan(rule->migration, &mirror->migration, &state);
	mirror->cxt = CurrentMemoryContext;
	mirror->migration_id = rule->migration;
	mirror->number = rule->number;
	mirror->here = is_first ? rule->first : rule->second;
	mirror->there = is_first ? rule->second : rule->first;
	mirror->is_first = is_first;
	mirror->backfilling = state == ZDM_EXPANDED;
	mirror->fills_second = rule->fills_second;
	mirror->referencing = rule->referencing;
	mirror->optional = rule->optional;
	mirror->several = rule->several;
	mirror->last_first = rule->first_by != NULL && strcmp(rule->first_by, "desc") == 0;
	mirror->has_rivals = !is_first && zdm_mirror_other_keys(mirror) != NIL;
	if (rule->optional == 0 && get_rel_relkind(mirror->here) == RELKIND_PARTITIONED_TABLE)
		mirror->own = own_mirror(mirror);
	return true;
}

/*
 * The rule from this side to this side: to look up a row that is somewhere in
 * the table.
 */
static ZdmMirror *
own_mirror(const ZdmMirror *mirror)
{
	ZdmMirror  *own = palloc_object(ZdmMirror);

	*own = *mirror;
	own->there = own->here;
	own->columns = palloc_array(ZdmMirrorColumn, own->count);
	for (int i = 0; i < own->count; i++)
	{
		own->columns[i] = mirror->columns[i];
		own->columns[i].there = own->columns[i].name;
	}
	return own;
}

static bool
compile_columns(Relation rel, List *here, List *there, ZdmMirrorColumn *columns)
{
	ListCell   *name,
			   *other;

	forboth(name, here, other, there)
	{
		ZdmMirrorColumn *column = columns++;
		AttrNumber	attnum = get_attnum(RelationGetRelid(rel), lfirst(name));
		Form_pg_attribute attr;

		if (attnum <= 0)
			return false;
		attr = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
		column->attnum = attnum;
		column->name = lfirst(name);
		column->there = lfirst(other);
		column->type = attr->atttypid;
		column->typmod = attr->atttypmod;
		column->typlen = attr->attlen;
		column->typbyval = attr->attbyval;
	}
	return true;
}

/*
 * The values of a row, in the current memory context; they live as long as
 * the slot holds it.
 */
void
zdm_mirror_take(const ZdmMirror *mirror, TupleTableSlot *slot, ZdmMirrorRow *row)
{
	row->values = palloc_array(Datum, mirror->count);
	row->nulls = palloc_array(char, mirror->count);
	for (int i = 0; i < mirror->count; i++)
	{
		bool		isnull;

		row->values[i] = slot_getattr(slot, mirror->columns[i].attnum, &isnull);
		row->nulls[i] = isnull ? 'n' : ' ';
	}
}

/*
 * Whether two rows agree in columns [from, to), by their binary image.
 */
bool
zdm_mirror_same(const ZdmMirror *mirror, const ZdmMirrorRow *a,
				const ZdmMirrorRow *b, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		const ZdmMirrorColumn *column = &mirror->columns[i];

		if (a->nulls[i] != b->nulls[i])
			return false;
		if (a->nulls[i] == 'n')
			continue;
		if (!column->typbyval && a->values[i] == b->values[i])
			continue;
		if (!datum_image_eq(a->values[i], b->values[i], column->typbyval, column->typlen))
			return false;
	}
	return true;
}

bool
zdm_mirror_has_null(const ZdmMirrorRow *row, int from, int to)
{
	for (int i = from; i < to; i++)
	{
		if (row->nulls[i] == 'n')
			return true;
	}
	return false;
}
