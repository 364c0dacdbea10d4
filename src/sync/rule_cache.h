/*-------------------------------------------------------------------------
 *
 * rule_cache.h
 *	  Compiled rules of tables, kept in this backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_RULE_CACHE_H
#define ZDM_SYNC_RULE_CACHE_H

#include "utils/hsearch.h"
#include "utils/rel.h"

/*
 * What a set of compiled rules begins with.  Valid as long as it is held, also
 * where the rules change meanwhile.
 */
typedef struct ZdmCachedSet
{
	struct ZdmCachedSet *next;	/* of the same table */
	MemoryContext cxt;			/* all of it */
	bool		has_domains;	/* asks of values whether they are a domain's */
} ZdmCachedSet;

/* The sets of one kind. */
typedef struct ZdmRuleCache
{
	const char *name;
	/* Make a table's set, in the current memory context. */
	ZdmCachedSet *(*compile) (Relation rel);
	/* Any table has changed, InvalidOid: all; only flags may be touched. */
	void		(*changed) (ZdmCachedSet *set, Oid relid);
	HTAB	   *tables;
	struct ZdmRuleCache *next;
} ZdmRuleCache;

extern void zdm_rule_cache_init(ZdmRuleCache *cache);
extern ZdmCachedSet *zdm_rule_cache_find(const ZdmRuleCache *cache, Oid relid);
extern ZdmCachedSet *zdm_rule_cache_add(ZdmRuleCache *cache, Relation rel);
extern void zdm_rule_cache_outdate(ZdmRuleCache *cache);
extern int	zdm_rules_hold(void);
extern void zdm_rules_release(int held);
extern bool zdm_rules_nested(void);

#endif							/* ZDM_SYNC_RULE_CACHE_H */
