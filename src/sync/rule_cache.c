/*-------------------------------------------------------------------------
 *
 * rule_cache.c
 *	  Compiled rules of tables, kept in this backend.
 *
 * Sync rules (rule.c) and mirror rules (mirror_compile.c) name tables and
 * columns; what a trigger works with is a set of them, compiled for one table
 * or partition.  That is done on first use and kept until a relcache
 * invalidation says that the table, or a rule on it (catalog/rule.c sends
 * one), has changed; where an expression asks of a value whether it is a
 * domain's, until any type has changed.  The callbacks flip flags and do nothing
 * else.
 *
 * A rebuild frees the old sets, unless a trigger call or a batch may be in the
 * middle of using one: then they are handed to the transaction's memory
 * instead.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "sync/rule_cache.h"

typedef struct CachedTable
{
	Oid			relid;			/* hash key */
	bool		valid;
	ZdmCachedSet *sets;			/* one, or one for each role */
} CachedTable;

static ZdmRuleCache *caches = NULL;

/* How many trigger calls and batches use sets now; 0 at a transaction's end. */
static int	holds = 0;

static void invalidate(Datum arg, Oid relid);
static void type_changed(Datum arg, int id, uint32 hash);
static void at_transaction_end(XactEvent event, void *arg);
static void forget_sets(CachedTable *table);

/*
 * Set up a cache and its invalidation; called once a backend.
 */
void
zdm_rule_cache_init(ZdmRuleCache *cache)
{
	HASHCTL		ctl = {
		.keysize = sizeof(Oid),
		.entrysize = sizeof(CachedTable),
	};

	if (caches == NULL)
	{
		CacheRegisterRelcacheCallback(invalidate, (Datum) 0);
		CacheRegisterSyscacheCallback(TYPEOID, type_changed, (Datum) 0);
		RegisterXactCallback(at_transaction_end, NULL);
	}
	cache->tables = hash_create(cache->name, 16, &ctl, HASH_ELEM | HASH_BLOBS);
	cache->next = caches;
	caches = cache;
}

static void
at_transaction_end(XactEvent event, void *arg)
{
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT ||
		event == XACT_EVENT_PREPARE)
		holds = 0;
}

/*
 * Keep every set from being freed until the release with what this returned.
 * An error in between needs none: then sets are kept until the transaction
 * ends.
 */
int
zdm_rules_hold(void)
{
	return holds++;
}

void
zdm_rules_release(int held)
{
	holds = held;
}

/*
 * Whether a trigger call may be under way whose statement has led to us, who
 * hold sets ourselves.
 */
bool
zdm_rules_nested(void)
{
	return holds > 1;
}

static void
invalidate(Datum arg, Oid relid)
{
	for (ZdmRuleCache *cache = caches; cache != NULL; cache = cache->next)
	{
		HASH_SEQ_STATUS scan;
		CachedTable *table;

		if (!OidIsValid(relid))
			zdm_rule_cache_outdate(cache);
		else if ((table = hash_search(cache->tables, &relid, HASH_FIND, NULL)) != NULL)
			table->valid = false;
		if (cache->changed == NULL)
			continue;
		hash_seq_init(&scan, cache->tables);
		while ((table = hash_seq_search(&scan)) != NULL)
		{
			for (ZdmCachedSet *set = table->sets; set != NULL; set = set->next)
				cache->changed(set, relid);
		}
	}
}

/*
 * An expression that is ready to be run has the constraints that a domain had
 * by then.
 */
static void
type_changed(Datum arg, int id, uint32 hash)
{
	for (ZdmRuleCache *cache = caches; cache != NULL; cache = cache->next)
	{
		HASH_SEQ_STATUS scan;
		CachedTable *table;

		hash_seq_init(&scan, cache->tables);
		while ((table = hash_seq_search(&scan)) != NULL)
		{
			for (ZdmCachedSet *set = table->sets; set != NULL; set = set->next)
				table->valid &= !set->has_domains;
		}
	}
}

/*
 * Have every set made anew on its next use.
 */
void
zdm_rule_cache_outdate(ZdmRuleCache *cache)
{
	HASH_SEQ_STATUS scan;
	CachedTable *table;

	hash_seq_init(&scan, cache->tables);
	while ((table = hash_seq_search(&scan)) != NULL)
		table->valid = false;
}

/*
 * The sets of a table, as long as they are what the rules are; else NULL.
 */
ZdmCachedSet *
zdm_rule_cache_find(const ZdmRuleCache *cache, Oid relid)
{
	CachedTable *table = hash_search(cache->tables, &relid, HASH_FIND, NULL);

	return table != NULL && table->valid ? table->sets : NULL;
}

/*
 * Compile a set for the table, in the place of those that are out of date.  It
 * is the transaction's as long as it is not complete, so that an error leaves
 * nothing behind.
 */
ZdmCachedSet *
zdm_rule_cache_add(ZdmRuleCache *cache, Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	bool		found;
	CachedTable *table = hash_search(cache->tables, &relid, HASH_ENTER, &found);
	ZdmCachedSet *set;
	MemoryContext cxt,
				old;

	if (!found)
		table->sets = NULL;
	else if (!table->valid)
		forget_sets(table);

	/* An invalidation from here on means that the set is stale at once. */
	table->valid = true;
	cxt = AllocSetContextCreate(CurTransactionContext, "zdm rule set",
								ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(cxt);
	set = cache->compile(rel);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(cxt, CacheMemoryContext);
	set->cxt = cxt;
	set->next = table->sets;
	table->sets = set;
	return set;
}

/*
 * Whoever holds sets now may go on using them until the transaction ends.
 */
static void
forget_sets(CachedTable *table)
{
	ZdmCachedSet *set = table->sets;

	table->sets = NULL;
	while (set != NULL)
	{
		ZdmCachedSet *next = set->next;

		if (holds > 0)
			MemoryContextSetParent(set->cxt, TopTransactionContext);
		else
			MemoryContextDelete(set->cxt);
		set = next;
	}
}
