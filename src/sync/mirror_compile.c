/*-------------------------------------------------------------------------
 *
 * mirror_compile.c
 *	  Mirror rules of a table, compiled for this backend.
 *
 * What is compiled here are column numbers, and rule_cache.c keeps them; the
 * statements on the other table are prepared when they are needed
 * (mirror_statement.c) and go with the set.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"

#include "catalog/mirror_rule.h"
#include "sync/mirror.h"
#include "util/compat.h"
#include "util/ident.h"

static ZdmCachedSet *compile_set(Relation rel);
static void forget_direct(ZdmCachedSet *cached, Oid relid);
static void free_plans(void *arg);
static bool compile_mirror(Relation rel, List *relids, ZdmMirrorRule *rule,
						   ZdmMirror *mirror);
static ZdmMirror *own_mirror(const ZdmMirror *mirror);
static bool compile_columns(Relation rel, List *here, List *there,
							ZdmMirrorColumn *columns);

static ZdmRuleCache cache = {
	.name = "zdm mirrors",
	.compile = compile_set,
	.changed = forget_direct,
};

/*
 * Set up the cache and its invalidation; called once a backend.
 */
void
zdm_mirrors_init(void)
{
	zdm_rule_cache_init(&cache);
}

/*
 * What is known of the other table is not a part of the set.
 */
static void
forget_direct(ZdmCachedSet *cached, Oid relid)
{
	ZdmMirrorSet *set = (ZdmMirrorSet *) cached;

	for (int i = 0; i < set->count; i++)
	{
		if (!OidIsValid(relid) || set->mirrors[i].there == relid)
			zdm_mirror_direct_forget(&set->mirrors[i]);
	}
}

/*
 * The rules that hold for a row of this table: its own, and those of the
 * partitioned tables above it.
 */
ZdmMirrorSet *
zdm_mirrors_get(Relation rel)
{
	ZdmCachedSet *set = zdm_rule_cache_find(&cache, RelationGetRelid(rel));

	return (ZdmMirrorSet *) (set != NULL ? set : zdm_rule_cache_add(&cache, rel));
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

static ZdmCachedSet *
compile_set(Relation rel)
{
	ZdmMirrorSet *set = palloc0_object(ZdmMirrorSet);
	List	   *relids = list_make1_oid(RelationGetRelid(rel));
	List	   *rules;
	ListCell   *lc;

	set->release.func = free_plans;
	set->release.arg = set;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &set->release);
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
	return &set->cached;
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
		if (set->mirrors[i].self != NULL)
			zdm_mirror_drop_plans(set->mirrors[i].self);
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
	zdm_mirror_compile_guards(rel, mirror);
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
	memset(own->plans, 0, sizeof(own->plans));
	own->retired = NIL;
	own->lookup_index = InvalidOid;
	own->direct = NULL;
	own->there = own->here;
	own->columns = palloc_array(ZdmMirrorColumn, own->count);
	for (int i = 0; i < own->count; i++)
	{
		own->columns[i] = mirror->columns[i];
		own->columns[i].there = own->columns[i].name;
	}
	return own;
}

/*
 * The same of any rule, as long as the rule is kept.
 */
ZdmMirror *
zdm_mirror_self(ZdmMirror *mirror)
{
	MemoryContext old;

	if (mirror->own != NULL)
		return mirror->own;
	if (mirror->self == NULL)
	{
		old = MemoryContextSwitchTo(mirror->cxt);
		mirror->self = own_mirror(mirror);
		MemoryContextSwitchTo(old);
	}
	return mirror->self;
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
		column->collation = attr->attcollation;
		column->typlen = attr->attlen;
		column->typbyval = attr->attbyval;
	}
	return true;
}

/*
 * Where the rule's columns are in the other table, or a partition of it.
 */
AttrNumber *
zdm_mirror_attnums(const ZdmMirror *mirror, Relation there)
{
	AttrNumber *attnums = palloc_array(AttrNumber, mirror->count);

	for (int i = 0; i < mirror->count; i++)
		attnums[i] = get_attnum(RelationGetRelid(there), mirror->columns[i].there);
	return attnums;
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
	row->checked = 0;
	for (int i = 0; i < mirror->count; i++)
	{
		bool		isnull;

		row->values[i] = slot_getattr(slot, mirror->columns[i].attnum, &isnull);
		row->nulls[i] = isnull ? 'n' : ' ';
	}
}

/*
 * A copy of a row, in the current memory context, to be given other values.
 */
ZdmMirrorRow
zdm_mirror_row_copy(const ZdmMirror *mirror, const ZdmMirrorRow *row)
{
	ZdmMirrorRow copy = {
		.values = palloc_array(Datum, mirror->count),
		.nulls = palloc_array(char, mirror->count),
	};

	memcpy(copy.values, row->values, sizeof(Datum) * mirror->count);
	memcpy(copy.nulls, row->nulls, mirror->count);
	return copy;
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
