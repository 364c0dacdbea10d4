/*-------------------------------------------------------------------------
 *
 * retype.c
 *	  Another type for a column.
 *
 * Which type changes the server makes without reading the table, and what the
 * others are converted by.  The questions are those that ALTER TABLE asks
 * itself; here they are asked without a lock, and before anything is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "access/table.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "nodes/makefuncs.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "parser/parse_type.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/typcache.h"

#include "schema/relation.h"
#include "schema/retype.h"
#include "schema/twin.h"
#include "util/compat.h"
#include "util/spi.h"

static bool needs_rewrite(const ZdmType *from, const ZdmType *to);
static bool constraints_read_table(Oid relid, AttrNumber attnum, bool same_type);
static bool index_survives(Relation index, AttrNumber attnum, const ZdmType *to);
static bool is_enum(Oid type);
static Node *convert(const ZdmType *from, const ZdmType *to, CoercionContext how);

/*
 * The type that a text means in this session.
 */
void
zdm_type_parse(const char *text, ZdmType *type)
{
	zdm_parse_type_string(text, &type->oid, &type->typmod);
	type->collation = get_typcollation(type->oid);
}

/*
 * Its text, fit for any search_path.
 */
char *
zdm_type_text(const ZdmType *type)
{
	ZdmIdentity saved;
	char	   *result;

	zdm_pin_path(&saved);
	result = format_type_with_typemod(type->oid, type->typmod);
	zdm_unbecome(&saved);
	return result;
}

/*
 * Whether a second column can be of that type.
 */
void
zdm_type_check_kind(const ZdmType *type)
{
	if (get_typtype(type->oid) == TYPTYPE_PSEUDO)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_TABLE_DEFINITION),
				errmsg("a column cannot be of pseudo-type %s", format_type_be(type->oid)),
				errhint("Name another type."));
}

/*
 * The same of a column that is to be of it at once.
 */
void
zdm_type_check(const ZdmType *type)
{
	zdm_type_check_kind(type);
	if (get_typtype(type->oid) == TYPTYPE_DOMAIN && zdm_domain_is_constrained(type->oid))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("type %s is a domain with constraints", format_type_be(type->oid)),
				errdetail("To add a column of such a type, the server rewrites the table under a lock."),
				errhint("Name type %s, and make it the domain afterwards, by zdm.change_column_type.",
						format_type_be(getBaseType(type->oid))));
}

/*
 * The column keeps its collation, where the new type has any.
 */
void
zdm_type_keep_collation(Relation rel, const char *column, ZdmType *type)
{
	ZdmType		from;

	zdm_type_of(RelationGetRelid(rel), column, &from);
	if (OidIsValid(from.collation) && OidIsValid(type->collation) &&
		from.collation != get_typcollation(from.oid))
		type->collation = from.collation;
}

void
zdm_type_of(Oid relid, const char *column, ZdmType *type)
{
	AttrNumber	attnum = get_attnum(relid, column);

	if (attnum <= 0)
		elog(ERROR, "column \"%s\" of table \"%s\" does not exist", column, get_rel_name(relid));
	get_atttypetypmodcoll(relid, attnum, &type->oid, &type->typmod, &type->collation);
}

bool
zdm_type_is(Relation rel, const char *column, const ZdmType *type)
{
	ZdmType		now;

	zdm_type_of(RelationGetRelid(rel), column, &now);
	return now.oid == type->oid && now.typmod == type->typmod &&
		now.collation == type->collation;
}

/*
 * Whether ALTER TABLE ... TYPE changes the catalog alone: reads no row, and
 * builds no index.
 */
bool
zdm_type_changes_in_place(Relation rel, const char *column, const ZdmType *type)
{
	List	   *relids = zdm_table_and_partitions(RelationGetRelid(rel));
	bool		result = true;
	ListCell   *lc,
			   *item;

	foreach(lc, relids)
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);
		AttrNumber	attnum = get_attnum(lfirst_oid(lc), column);
		ZdmType		from;

		zdm_type_of(RelationGetRelid(part), column, &from);
		if (needs_rewrite(&from, type) ||
			constraints_read_table(lfirst_oid(lc), attnum, from.oid == type->oid))
			result = false;
		foreach(item, RelationGetIndexList(part))
		{
			Relation	index = relation_open(lfirst_oid(item), AccessShareLock);

			if (!index_survives(index, attnum, type))
				result = false;
			relation_close(index, AccessShareLock);
		}
		table_close(part, AccessShareLock);
	}
	return result;
}

/*
 * What ALTER TABLE asks of the conversion: whether every value stays as it is
 * stored.
 */
static bool
needs_rewrite(const ZdmType *from, const ZdmType *to)
{
	Node	   *expr = convert(from, to, COERCION_ASSIGNMENT);

	if (expr == NULL || from->collation != to->collation)
		return true;
	expr = (Node *) expression_planner((Expr *) expr);
	for (;;)
	{
		if (IsA(expr, Var))
			return false;
		else if (IsA(expr, RelabelType))
			expr = (Node *) ((RelabelType *) expr)->arg;
		else if (IsA(expr, CoerceToDomain))
		{
			if (zdm_domain_has_constraints(((CoerceToDomain *) expr)->resulttype))
				return true;
			expr = (Node *) ((CoerceToDomain *) expr)->arg;
		}
		else if (IsA(expr, FuncExpr) &&
				 (((FuncExpr *) expr)->funcid == F_TIMESTAMP_TIMESTAMPTZ ||
				  ((FuncExpr *) expr)->funcid == F_TIMESTAMPTZ_TIMESTAMP) &&
				 !TimestampTimestampTzRequiresRewrite())
			expr = linitial(((FuncExpr *) expr)->args);
		else
			return true;
	}
}

/*
 * ALTER TABLE checks CHECK constraints again in every row, and foreign keys
 * whose operators may differ.
 */
static bool
constraints_read_table(Oid relid, AttrNumber attnum, bool same_type)
{
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_constraint c"
							 " WHERE (c.conrelid OPERATOR(pg_catalog.=) $1 AND $2 OPERATOR(pg_catalog.=) ANY (c.conkey)"
							 " AND (c.contype OPERATOR(pg_catalog.=) 'c'"
							 " OR (c.contype OPERATOR(pg_catalog.=) 'f' AND NOT $3)))"
							 " OR (c.confrelid OPERATOR(pg_catalog.=) $1 AND $2 OPERATOR(pg_catalog.=) ANY (c.confkey)"
							 " AND NOT $3) LIMIT 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
									  ZDM_ARG(INT2OID, Int16GetDatum(attnum)),
									  ZDM_ARG(BOOLOID, BoolGetDatum(same_type)))) != NIL;
}

/*
 * An index stays as it is where its columns go on to be compared alike.  One
 * with an expression or a predicate is always built anew.
 */
static bool
index_survives(Relation index, AttrNumber attnum, const ZdmType *to)
{
	Form_pg_index form = index->rd_index;
	bool		plain = heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) &&
		heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);

	for (int i = 0; i < form->indnkeyatts; i++)
	{
		oidvector  *classes;
		Datum		datum;
		bool		isnull;
		Oid			opclass;

		if (form->indkey.values[i] != attnum)
			continue;
		datum = SysCacheGetAttr(INDEXRELID, index->rd_indextuple, Anum_pg_index_indclass, &isnull);
		classes = (oidvector *) DatumGetPointer(datum);
		opclass = classes->values[i];
		if (get_opclass_input_type(opclass) != to->oid &&
			GetDefaultOpClass(to->oid, index->rd_rel->relam) != opclass)
			return false;
		if (index->rd_indcollation[i] != to->collation)
			return false;
	}
	if (plain)
		return true;
	/* Which columns an expression has is of no interest where none is ours. */
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_depend d"
							 " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
							 " AND d.objid OPERATOR(pg_catalog.=) $1"
							 " AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
							 " AND d.refobjid OPERATOR(pg_catalog.=) $2 AND d.refobjsubid OPERATOR(pg_catalog.=) $3",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(index))),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(form->indrelid)),
									  ZDM_ARG(INT4OID, Int32GetDatum(attnum)))) == NIL;
}

/*
 * A column of one type made to another, or NULL where there is no such cast.
 */
static Node *
convert(const ZdmType *from, const ZdmType *to, CoercionContext how)
{
	Var		   *var = makeVar(1, 1, from->oid, from->typmod, from->collation, 0);

	return coerce_to_target_type(NULL, (Node *) var, from->oid, to->oid, to->typmod,
								 how, how == COERCION_EXPLICIT ? COERCE_EXPLICIT_CAST
								 : COERCE_IMPLICIT_CAST, -1);
}

static bool
is_enum(Oid type)
{
	return get_typtype(getBaseType(type)) == TYPTYPE_ENUM;
}

/*
 * The expression that makes a column's value of the other type where the user
 * gave none: what an assignment does, or else the cast.  The result must not
 * depend on who writes, or old and new would not be the same for all.
 */
char *
zdm_type_conversion(const char *column, const ZdmType *from, const ZdmType *to,
					const char *argument)
{
	const char *name = quote_identifier(column);
	Node	   *expr = convert(from, to, COERCION_ASSIGNMENT);
	bool		assignment = expr != NULL;

	if (expr == NULL)
		expr = convert(from, to, COERCION_EXPLICIT);
	if (expr == NULL)
		ereport(ERROR,
				errcode(ERRCODE_CANNOT_COERCE),
				errmsg("there is no cast from type %s to %s",
					   zdm_type_text(from), zdm_type_text(to)),
				errhint("Give the conversion in the argument %s, as an expression over column %s.",
						argument, name));
	/* An enum's labels are written by DDL alone, and the same for all. */
	if (contain_mutable_functions(expr) && !is_enum(from->oid) && !is_enum(to->oid))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("what the cast from type %s to %s gives depends on the session",
					   zdm_type_text(from), zdm_type_text(to)),
				errdetail("Every writer, the backfill and the verification would convert by settings of their own."),
				errhint("Give the conversion in the argument %s, as an expression over column %s, for example with AT TIME ZONE.",
						argument, name));
	if (assignment)
		return pstrdup(name);
	return psprintf("CAST(%s AS %s)", name, zdm_type_text(to));
}

/*
 * Whether the server's own conversion gives different values for different
 * ones, as the types' default operators see them; or fails.
 */
bool
zdm_type_is_exact(const ZdmType *from, const ZdmType *to)
{
	ZdmType		base = *from;
	ZdmType		target = *to;
	bool		is_integer;

	/* A domain's values are its base type's. */
	base.oid = getBaseTypeAndTypmod(from->oid, &base.typmod);
	target.oid = getBaseTypeAndTypmod(to->oid, &target.typmod);
	if (base.oid == target.oid && (target.typmod == -1 || target.typmod == base.typmod))
		return from->collation == to->collation;
	if (from->oid != base.oid || to->oid != target.oid)
		return false;
	is_integer = from->oid == INT2OID || from->oid == INT4OID || from->oid == INT8OID;

	switch (to->oid)
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
			return is_integer;
		case NUMERICOID:
			return is_integer && to->typmod == -1;
		case FLOAT8OID:
			return from->oid == INT2OID || from->oid == INT4OID || from->oid == FLOAT4OID;
		case TEXTOID:
		case VARCHAROID:
			return (is_integer || from->oid == UUIDOID) && to->typmod == -1 &&
				get_collation_isdeterministic(to->collation);
		default:
			return false;
	}
}

/*
 * A copy of a table's description that has one more column.
 */
TupleDesc
zdm_description_with(TupleDesc desc, const char *name, const ZdmType *type)
{
	TupleDesc	result = CreateTemplateTupleDesc(desc->natts + (name ? 1 : 0));

	for (int i = 0; i < desc->natts; i++)
		memcpy(TupleDescAttr(result, i), TupleDescAttr(desc, i), ATTRIBUTE_FIXED_PART_SIZE);
	if (name != NULL)
	{
		Form_pg_attribute attr = TupleDescAttr(result, desc->natts);

		MemSet(attr, 0, ATTRIBUTE_FIXED_PART_SIZE);
		namestrcpy(&attr->attname, name);
		attr->attnum = (AttrNumber) (desc->natts + 1);
		attr->atttypid = type->oid;
		attr->atttypmod = type->typmod;
		attr->attcollation = type->collation;
	}
	return result;
}

/*
 * Let two columns have each other's names.
 */
void
zdm_description_swap(TupleDesc desc, const char *a, const char *b)
{
	AttrNumber	first = zdm_description_number(desc, a);
	AttrNumber	second = zdm_description_number(desc, b);

	namestrcpy(&TupleDescAttr(desc, first - 1)->attname, b);
	namestrcpy(&TupleDescAttr(desc, second - 1)->attname, a);
}

AttrNumber
zdm_description_number(TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attr = TupleDescAttr(desc, i);

		if (!attr->attisdropped && strcmp(NameStr(attr->attname), name) == 0)
			return attr->attnum;
	}
	elog(ERROR, "column \"%s\" is not described", name);
}
