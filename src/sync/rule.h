/*-------------------------------------------------------------------------
 *
 * rule.h
 *	  Sync rules of a table, compiled for this backend.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_RULE_H
#define ZDM_SYNC_RULE_H

#include "datatype/timestamp.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "sync/rule_cache.h"

/*
 * An expression.  Whoever needs no value of it need not have the right to call
 * what it calls.
 */
typedef struct ZdmExpression
{
	Expr	   *expr;
	ExprState  *state;			/* made on first use */
	bool		prints;			/* it may make text of a value */
} ZdmExpression;

/*
 * How one column's value is made from the other side.  Most are a plain copy
 * of one column; then source is its number and expression is NULL.
 */
typedef struct ZdmValue
{
	AttrNumber	source;
	ZdmExpression *expression;
	bool		or_null;		/* NULL where the expression fails */
	bool		constant;		/* the expression's, which cannot fail */
	AttrNumber	same_as;		/* the column that it equals, of the same type
								 * but for domains; or 0 */
} ZdmValue;

/* One column of a side of a rule. */
typedef struct ZdmColumn
{
	AttrNumber	attnum;
	char	   *name;
	int16		typlen;
	bool		typbyval;
	bool		notnull;
	ZdmValue	value;			/* from the other side */
	bool		volatile_default;
	ZdmExpression *initial;		/* its own default, where that is stable */
	Oid			statement_relid;	/* cache: where the column has number ... */
	AttrNumber	statement_attnum;
} ZdmColumn;

typedef struct ZdmSide
{
	int			count;
	ZdmColumn  *columns;
	Bitmapset  *reads;			/* what its values are made from, offset by
								 * FirstLowInvalidHeapAttributeNumber */
} ZdmSide;

typedef struct ZdmRule
{
	int64		migration_id;
	char	   *migration;
	Oid			relation;		/* the migration's, of which this table may be
								 * a partition */
	ZdmRuleKind kind;
	ZdmSide		old;			/* each value by down */
	ZdmSide		new;			/* each value by up */
	bool		backfilling;	/* rows may not be backfilled yet */
	bool		new_leads;		/* the new side holds the original column */
	TimestampTz noted;			/* when a NULL that stayed was logged last */
} ZdmRule;

/* A table's sync rules. */
typedef struct ZdmRuleSet
{
	ZdmCachedSet cached;
	Oid			role;			/* whose rights the expressions were checked
								 * for */
	bool		has_expressions;
	bool		has_sync;		/* rules of kind ZDM_RULE_SYNC */
	bool		has_others;
	List	   *ancestors;		/* oids, where the table is a partition */
	int			count;
	ZdmRule    *rules;
	TupleTableSlot *work;		/* a row under way */
} ZdmRuleSet;

extern void zdm_rules_init(void);
extern ZdmRuleSet *zdm_rules_get(Relation rel);
extern ZdmRuleSet *zdm_rules_of_migration(Relation rel, const char *migration);
extern bool zdm_column_initial(ZdmColumn *column, ZdmRuleSet *set,
							   TupleTableSlot *row, Datum *value, bool *isnull);
extern Datum zdm_value_compute(const ZdmValue *value, ZdmRuleSet *set,
							   TupleTableSlot *row, bool *isnull);

#endif							/* ZDM_SYNC_RULE_H */
