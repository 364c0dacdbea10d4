/*-------------------------------------------------------------------------
 *
 * domain_change.c
 *	  A column of a base type becomes one of a domain over it.
 *
 * A domain's values are stored as its base type's, and are compared, hashed
 * and printed alike.  So what changes is the catalog alone: the type of the
 * column, and of it in indexes; and the trees of index expressions, predicates
 * and CHECK constraints, which become what their text gives over the domain, as
 * with a plain change of the type, where that calls the same functions: there
 * may be one of the same name for the domain.  Everything else that
 * knows the column's type (views, policies, conditions of triggers, generated
 * columns, statistics by expressions) must not be there.
 *
 * Whoever calls holds ACCESS EXCLUSIVE on the table and its partitions, and has
 * proved that each row holds a value of the domain.  What has been gathered of
 * the column's values stays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_index.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "access/amapi.h"
#include "access/relation.h"
#include "access/xact.h"
#include "nodes/makefuncs.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "schema/domain_change.h"
#include "schema/domain_twin.h"
#include "schema/relation.h"
#include "sync/expression.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* The column, in its table as it is and as it will be. */
typedef struct Retyped
{
	AttrNumber	column;
	Oid			base;
	Oid			domain;
	TupleDesc	before;
	TupleDesc	after;
} Retyped;

static void change_type(ZdmStep *step);
static void change_table(Oid relid, const char *column, const ZdmType *type);
static void change_attribute(Oid relid, AttrNumber attnum, Oid domain);
static void change_dependency(Oid relid, AttrNumber attnum, Oid domain);
static void change_indexes(Oid relid, Retyped *retyped);
static void change_index(Oid relid, Retyped *retyped);
static bool has_own_key_type(Relation index, int key);
static void change_checks(Oid relid, Retyped *retyped);
static void change_trees(Relation catalog, HeapTuple tuple, Oid catalog_class, Oid object,
						 const AttrNumber *columns, int count, Retyped *retyped);
static Node *retype(Node *tree, Retyped *retyped);
static bool has_column(Node *node, void *context);
static bool depends_on_type(Oid catalog_class, Oid object, Oid type);
static Node *without_types(Node *node, void *context);

ZdmStep *
zdm_domain_step(Oid relid, const char *column, const ZdmType *type)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
								   "give the column the domain as its type",
								   psprintf("-- catalog: column %s of table %s is of type %s",
											quote_identifier(column), zdm_quote_relation(relid), zdm_type_text(type)));

	step->from = pstrdup(column);
	step->to = zdm_type_text(type);
	step->change = change_type;
	return step;
}

static void
change_type(ZdmStep *step)
{
	ZdmIdentity saved;
	ZdmType		type;
	ListCell   *lc;

	zdm_pin_path(&saved);
	zdm_type_parse(step->to, &type);
	zdm_unbecome(&saved);

	/*
	 * Whoever contracts; what is parsed, and may call a type's functions, is
	 * the owner's.
	 */
	zdm_domain_check_rights(step->from, &type);
	zdm_become(zdm_table_owner(step->relation), &saved);
	zdm_pin_style();
	foreach(lc, zdm_table_and_partitions(step->relation))
		change_table(lfirst_oid(lc), step->from, &type);
	zdm_unbecome(&saved);
	CommandCounterIncrement();
}

static void
change_table(Oid relid, const char *column, const ZdmType *type)
{
	AttrNumber	attnum = get_attnum(relid, column);
	Retyped		retyped = {.column = attnum,.base = get_atttype(relid, attnum),.domain = type->oid};
	Relation	rel = table_open(relid, NoLock);

	retyped.before = zdm_description_with(RelationGetDescr(rel), NULL, NULL);
	retyped.after = zdm_description_with(RelationGetDescr(rel), NULL, NULL);
	table_close(rel, NoLock);
	TupleDescAttr(retyped.after, attnum - 1)->atttypid = type->oid;
	TupleDescAttr(retyped.after, attnum - 1)->atttypmod = -1;
	if (retyped.base != getBaseType(type->oid))
		elog(ERROR, "column \"%s\" is not of the base type of %s", column, format_type_be(type->oid));
	change_attribute(relid, attnum, type->oid);
	change_dependency(relid, attnum, type->oid);
	change_indexes(relid, &retyped);
	change_checks(relid, &retyped);
	CacheInvalidateRelcacheByRelid(relid);
}

/*
 * The domain has its modifier and its dimensions itself.  InvalidOid: what is
 * stored is of another type, by an index's operator class.
 */
static void
change_attribute(Oid relid, AttrNumber attnum, Oid domain)
{
	Relation	attributes = table_open(AttributeRelationId, RowExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopyAttNum(relid, attnum);
	Form_pg_attribute attr;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for attribute %d of relation %u", attnum, relid);
	attr = (Form_pg_attribute) GETSTRUCT(tuple);
	if (OidIsValid(domain))
	{
		attr->atttypid = domain;
		attr->atttypmod = -1;
	}
	attr->attndims = 0;
	CatalogTupleUpdate(attributes, &tuple->t_self, tuple);
	table_close(attributes, RowExclusiveLock);
}

/*
 * The column depends on the domain, and not on the base type any more; on the
 * collation as before.
 */
static void
change_dependency(Oid relid, AttrNumber attnum, Oid domain)
{
	Relation	dependencies = table_open(DependRelationId, RowExclusiveLock);
	ObjectAddress depender;
	ObjectAddress referenced;
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(RelationRelationId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(relid));
	ScanKeyInit(&keys[2], Anum_pg_depend_objsubid, BTEqualStrategyNumber, F_INT4EQ,
				Int32GetDatum(attnum));
	scan = systable_beginscan(dependencies, DependDependerIndexId, true, NULL, 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		if (((Form_pg_depend) GETSTRUCT(tuple))->refclassid == TypeRelationId)
			CatalogTupleDelete(dependencies, &tuple->t_self);
	}
	systable_endscan(scan);
	table_close(dependencies, RowExclusiveLock);
	ObjectAddressSubSet(depender, RelationRelationId, relid, attnum);
	ObjectAddressSet(referenced, TypeRelationId, domain);
	recordDependencyOn(&depender, &referenced, DEPENDENCY_NORMAL);
}

static void
change_indexes(Oid relid, Retyped *retyped)
{
	Relation	rel = table_open(relid, NoLock);
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
		change_index(lfirst_oid(lc), retyped);
	table_close(rel, NoLock);
}

static void
change_index(Oid relid, Retyped *retyped)
{
	static const AttrNumber trees[] = {Anum_pg_index_indexprs, Anum_pg_index_indpred};
	Relation	catalog = table_open(IndexRelationId, RowExclusiveLock);
	Relation	index = relation_open(relid, AccessExclusiveLock);
	HeapTuple	tuple = SearchSysCacheCopy1(INDEXRELID, ObjectIdGetDatum(relid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for index %u", relid);
	for (int i = 0; i < index->rd_index->indnatts; i++)
	{
		if (index->rd_index->indkey.values[i] == retyped->column)
			change_attribute(relid, (AttrNumber) (i + 1),
							 has_own_key_type(index, i) ? InvalidOid : retyped->domain);
	}
	change_trees(catalog, tuple, RelationRelationId, relid, trees, lengthof(trees), retyped);
	relation_close(index, NoLock);
	table_close(catalog, RowExclusiveLock);
}

/*
 * Whether the index stores something else than the column's value, by its
 * operator class or its access method.
 */
static bool
has_own_key_type(Relation index, int key)
{
	const IndexAmRoutine *method;
	bool		isnull;
	oidvector  *classes;
	HeapTuple	tuple;
	Oid			type;

	if (key >= index->rd_index->indnkeyatts)
		return false;
	method = GetIndexAmRoutineByAmId(index->rd_rel->relam, false);
	classes = (oidvector *) DatumGetPointer(SysCacheGetAttr(INDEXRELID, index->rd_indextuple,
															Anum_pg_index_indclass, &isnull));
	tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(classes->values[key]));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for operator class %u", classes->values[key]);
	type = ((Form_pg_opclass) GETSTRUCT(tuple))->opckeytype;
	ReleaseSysCache(tuple);
	return OidIsValid(type) || OidIsValid(method->amkeytype);
}

static void
change_checks(Oid relid, Retyped *retyped)
{
	static const AttrNumber trees[] = {Anum_pg_constraint_conbin};
	Relation	catalog = table_open(ConstraintRelationId, RowExclusiveLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_constraint_conrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relid));
	scan = systable_beginscan(catalog, ConstraintRelidTypidNameIndexId, true, NULL, 1, &key);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype == CONSTRAINT_CHECK)
			change_trees(catalog, tuple, ConstraintRelationId, form->oid, trees, lengthof(trees), retyped);
	}
	systable_endscan(scan);
	table_close(catalog, RowExclusiveLock);
}

/*
 * The expressions that are stored in some columns of a catalog row.
 */
static void
change_trees(Relation catalog, HeapTuple tuple, Oid catalog_class, Oid object,
			 const AttrNumber *columns, int count, Retyped *retyped)
{
	bool		changed = false;

	for (int i = 0; i < count; i++)
	{
		int			column = columns[i];
		bool		isnull;
		Datum		stored = heap_getattr(tuple, column, RelationGetDescr(catalog), &isnull);
		Node	   *tree = isnull ? NULL : stringToNode(TextDatumGetCString(stored));

		if (!has_column(tree, retyped))
			continue;
		/* Where there is a tree, it is not NULL. */
		stored = CStringGetTextDatum(nodeToString(retype(tree, retyped)));
		tuple = heap_modify_tuple_by_cols(tuple, RelationGetDescr(catalog), 1,
										  &column, &stored, &isnull);
		changed = true;
	}
	if (!changed)
		return;
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	if (!depends_on_type(catalog_class, object, retyped->base))
	{
		ObjectAddress depender;
		ObjectAddress referenced;

		ObjectAddressSet(depender, catalog_class, object);
		ObjectAddressSet(referenced, TypeRelationId, retyped->base);
		recordDependencyOn(&depender, &referenced, DEPENDENCY_NORMAL);
	}
}

static bool
has_column(Node *node, void *context)
{
	Retyped    *retyped = context;

	if (node == NULL)
		return false;
	if (IsA(node, Var))
		return ((Var *) node)->varattno == retyped->column;
	return expression_tree_walker(node, has_column, context);
}

/*
 * One expression, or those of an index.
 */
static Node *
retype(Node *tree, Retyped *retyped)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (!IsA(tree, List))
		return zdm_expression_over(retyped->before, retyped->after,
								   zdm_expression_text(retyped->before, tree));
	foreach(lc, (List *) tree)
		result = lappend(result, retype(lfirst(lc), retyped));
	return (Node *) result;
}

static bool
depends_on_type(Oid catalog_class, Oid object, Oid type)
{
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_depend d WHERE d.classid OPERATOR(pg_catalog.=) $1"
							 " AND d.objid OPERATOR(pg_catalog.=) $2"
							 " AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass"
							 " AND d.refobjid OPERATOR(pg_catalog.=) $3 LIMIT 1",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(catalog_class)),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(object)),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(type)))) != NIL;
}

/*
 * The tree of an expression over the columns as they are, by the text that it has
 * over the columns as they were; an error where it would not do the same.
 */
Node *
zdm_expression_over(TupleDesc was, TupleDesc is, const char *text)
{
	Node	   *before = zdm_expression_parse_as(was, text, text, 0);
	Node	   *after = zdm_expression_parse_as(is, text, text, 0);

	if (!equal(without_types(zdm_copy_node(before), NULL), without_types(zdm_copy_node(after), NULL)))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("over the domain it does not mean what it means over its base type"),
				errdetail("%s", text));
	return after;
}

/*
 * A tree without what makes no difference to the values in it: the functions
 * and operators stay, and how the column's value is made to their arguments by
 * them, but not what it is called.
 */
static Node *
without_types(Node *node, void *context)
{
	if (node == NULL)
		return NULL;
	while (IsA(node, RelabelType))
		node = (Node *) ((RelabelType *) node)->arg;
	if (IsA(node, Var))
	{
		((Var *) node)->vartype = InvalidOid;
		((Var *) node)->vartypmod = -1;
	}
	else if (IsA(node, CaseTestExpr))
	{
		((CaseTestExpr *) node)->typeId = InvalidOid;
		((CaseTestExpr *) node)->typeMod = -1;
	}
	return expression_tree_mutator(node, without_types, context);
}
