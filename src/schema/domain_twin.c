/*-------------------------------------------------------------------------
 *
 * domain_twin.c
 *	  A new column that is to be of a domain with constraints.
 *
 * To add a column of such a domain the server writes the table anew, and to
 * give a column one it reads the table, under a lock that keeps everybody out.
 * So the column is of the domain's base type meanwhile, and a CHECK asks of each
 * value whether it is one of the domain's: added NOT VALID, and validated when
 * the column is filled.  Then it is of the domain in all but name, which a change
 * of the catalog gives it (domain_change.c).
 *
 * The CHECK casts the value to the domain, so that it asks for what the domain
 * asks for by then, whatever that is: several constraints, NOT NULL, those of a
 * domain below it.  What it has proved of the rows is what the domain asked for
 * when it was validated.  ALTER DOMAIN reads the columns of a domain, and this is
 * none yet; so the constraints are in the CHECK's name, as a hash, and where they
 * have changed since the proof is made anew.  With the column's name that is
 * enough to know it by: it does not need the migration's number, and so can come
 * with the column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/heap.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "catalog/step.h"
#include "schema/domain_change.h"
#include "schema/domain_twin.h"
#include "schema/relation.h"
#include "schema/twin.h"
#include "schema/twin_constraint.h"
#include "schema/twin_index.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

#define PROOF "domain "

static char *proof_name(const char *column, const ZdmType *type);
static char *proof_text(Oid relid, const char *name, const char *column, const ZdmType *type);
static List *proofs_of(Oid relid, const char *column);
static ZdmStep *drop_proof(Oid relid, const char *name);

/*
 * The type that a column has until it can get that one.
 */
void
zdm_type_meanwhile(const ZdmType *type, ZdmType *meanwhile)
{
	*meanwhile = *type;
	if (get_typtype(type->oid) == TYPTYPE_DOMAIN && zdm_domain_is_constrained(type->oid))
		meanwhile->oid = getBaseTypeAndTypmod(type->oid, &meanwhile->typmod);
}

/*
 * What ADD COLUMN would ask of the domain itself.
 */
void
zdm_domain_check_rights(const char *column, const ZdmType *type)
{
	AclResult	usage = object_aclcheck(TypeRelationId, type->oid, GetUserId(), ACL_USAGE);

	if (usage != ACLCHECK_OK)
		aclcheck_error_type(usage, type->oid);
	CheckAttributeType(column, type->oid, type->collation, NIL, 0);
}

/*
 * An expression that fails on what is no value of the type, where it is to be
 * stored as something else meanwhile.
 */
char *
zdm_domain_value(char *expression, const ZdmType *type)
{
	ZdmType		meanwhile;

	zdm_type_meanwhile(type, &meanwhile);
	return meanwhile.oid == type->oid ? expression
		: psprintf("CAST(%s AS %s)", expression, zdm_type_text(type));
}

/*
 * Whether the column is still to get the type, or would be.
 */
bool
zdm_domain_is_due(Oid relid, const char *column, const ZdmType *type)
{
	AttrNumber	attnum = get_attnum(relid, column);
	ZdmType		meanwhile;

	zdm_type_meanwhile(type, &meanwhile);
	return get_typtype(type->oid) == TYPTYPE_DOMAIN &&
		(attnum > 0 ? get_atttype(relid, attnum) : meanwhile.oid) != type->oid;
}

/*
 * Whether one of the second columns (of ZdmPair *) is: what others have made of
 * it would not go along.
 */
bool
zdm_domains_are_due(List *pairs)
{
	ListCell   *lc;

	foreach(lc, pairs)
	{
		ZdmPair    *pair = lfirst(lc);

		if (pair->type != NULL && zdm_domain_is_due(pair->relation, pair->to, pair->type))
			return true;
	}
	return false;
}

/*
 * What the domain and those below it ask of a value, as 16 hexadecimal digits:
 * by the text, so that a dump and its restore agree.
 */
static char *
proof_name(const char *column, const ZdmType *type)
{
	static const char *const sql =
		"WITH RECURSIVE d(oid, base, mandatory, depth) AS ("
		" SELECT t.oid, t.typbasetype, t.typnotnull, 0 FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) $1"
		" UNION ALL SELECT t.oid, t.typbasetype, t.typnotnull, d.depth OPERATOR(pg_catalog.+) 1"
		" FROM d JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) d.base)"
		" SELECT pg_catalog.left(pg_catalog.md5(pg_catalog.string_agg(pg_catalog.concat_ws(E'\\x01', d.depth, d.mandatory,"
		" pg_catalog.regexp_replace(x.def, ' NOT VALID$', '')), E'\\x02' ORDER BY d.depth, x.def COLLATE \"C\")), 16)"
		" FROM d LEFT JOIN LATERAL (SELECT pg_catalog.pg_get_constraintdef(c.oid) AS def FROM pg_catalog.pg_constraint c"
		" WHERE c.contypid OPERATOR(pg_catalog.=) d.oid AND c.contype OPERATOR(pg_catalog.=) 'c') x ON true";
	List	   *hashes;
	ZdmIdentity saved;

	zdm_pin_path(&saved);
	zdm_pin_style();
	hashes = zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(type->oid))));
	zdm_unbecome(&saved);
	return zdm_twin_index_name(0, psprintf(PROOF "%s %s", (char *) linitial(hashes), column));
}

/*
 * Whether a constraint is such a CHECK.
 */
bool
zdm_domain_is_proof(const char *constraint)
{
	char	   *prefix = zdm_twin_index_name(0, PROOF);
	size_t		length = strlen(prefix);

	return strncmp(constraint, prefix, length) == 0 &&
		strspn(constraint + length, "0123456789abcdef") == 16 && constraint[length + 16] == ' ';
}

/*
 * NULL is a value of a domain that does not refuse it.  The comparison is true
 * where the cast does not fail, also of a composite type.
 */
static char *
proof_text(Oid relid, const char *name, const char *column, const ZdmType *type)
{
	const char *value = quote_identifier(column);

	return psprintf("ALTER TABLE %s ADD CONSTRAINT %s CHECK ((CAST(%s AS %s) IS NULL) OPERATOR(pg_catalog.=) (%s IS NULL)) NOT VALID",
					zdm_quote_relation(relid), quote_identifier(name), value, zdm_type_text(type), value);
}

/*
 * The steps with which the column begins.  From then on the domain cannot be
 * dropped without a word.
 */
List *
zdm_domain_demand_steps(Oid relid, const char *column, const ZdmType *type)
{
	if (!zdm_domain_is_due(relid, column, type))
		return NIL;
	return list_make1(zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock,
								  psprintf("demand of the column the values of %s", zdm_type_text(type)),
								  proof_text(relid, proof_name(column, type), column, type)));
}

/*
 * The steps that prove that the rows hold such values; with left, those that
 * are still to be done.
 */
List *
zdm_domain_proof_steps(Oid relid, const char *column, const ZdmType *type, bool left)
{
	char	   *name;
	bool		exists = false;
	List	   *steps = NIL;
	ListCell   *lc;

	if (!zdm_domain_is_due(relid, column, type))
		return NIL;
	name = proof_name(column, type);
	if (left && zdm_constraint_is_valid(relid, name, &exists))
		return NIL;
	if (left && !exists)
		steps = zdm_domain_demand_steps(relid, column, type);
	foreach(lc, left ? proofs_of(relid, column) : NIL)
	{
		if (strcmp(lfirst(lc), name) != 0)
			steps = lappend(steps, drop_proof(relid, lfirst(lc)));
	}
	return lappend(steps, zdm_step_on(relid, ZDM_STEP_DDL, ShareUpdateExclusiveLock,
									  psprintf("prove that each row holds a value of %s", zdm_type_text(type)),
									  psprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s",
											   zdm_quote_relation(relid), quote_identifier(name))));
}

/*
 * The names (char *) of the CHECKs that a column has, of whatever the domain
 * has asked for.
 */
static List *
proofs_of(Oid relid, const char *column)
{
	static const char *const sql =
		"SELECT c.conname::pg_catalog.text FROM pg_catalog.pg_constraint c"
		" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.conrelid"
		" AND c.conkey OPERATOR(pg_catalog.=) ARRAY[a.attnum]"
		" WHERE c.conrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $2"
		" AND c.contype OPERATOR(pg_catalog.=) 'c' ORDER BY 1";
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)), zdm_arg_name(column))))
	{
		if (zdm_domain_is_proof(lfirst(lc)))
			result = lappend(result, lfirst(lc));
	}
	return result;
}

static ZdmStep *
drop_proof(Oid relid, const char *name)
{
	return zdm_step_on(relid, ZDM_STEP_DDL, AccessExclusiveLock, "drop the CHECK that stood for the domain",
					   psprintf("ALTER TABLE %s DROP CONSTRAINT %s", zdm_quote_relation(relid), quote_identifier(name)));
}

/*
 * The steps that give the column its type.
 */
List *
zdm_domain_set_steps(Oid relid, const char *column, const ZdmType *type)
{
	if (!zdm_domain_is_due(relid, column, type))
		return NIL;
	return list_make2(drop_proof(relid, proof_name(column, type)),
					  zdm_domain_step(relid, column, type));
}
