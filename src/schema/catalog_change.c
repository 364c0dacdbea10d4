/*-------------------------------------------------------------------------
 *
 * catalog_change.c
 *	  Changes of the server's catalog that no statement makes.
 *
 * Three here, those of constraints in files of their own, and all under the
 * table's ACCESS EXCLUSIVE lock:
 *
 * - An identity moves to another column, with its sequence.  By SQL the
 *	 sequence would be dropped, with its privileges and whatever names it.
 * - A view that is made again gets the privileges that it had, exactly: who
 *	 granted them, and nothing of what the schema gives to every new view; and
 *	 a second column those of the first one.  GRANT could only be made in the
 *	 name of who runs it.
 * - The rows of PL/pgSQL functions that name the column are written again as
 *	 they are, which makes every session compile them anew.  A session that has
 *	 run one before would go on with what it knows of the column's type, and
 *	 fail, until it ends.  One that is in the middle of such a call plans anew.
 *
 * The rights were checked: whoever may contract owns the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "schema/catalog_change.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

static void move_identity(ZdmStep *step);
static void set_acl(ZdmStep *step);
static void replace_acl(Relation catalog, HeapTuple tuple, AttrNumber column,
						Oid relid, int subid, Datum acl, bool none);
static Datum acl_of_text(const char *text);
static void copy_acl(ZdmStep *step);
static void recompile(ZdmStep *step);
static bool lock_function(Relation functions, HeapTuple tuple);
static void plan_anew(void);
static void move_sequence(Oid sequence, Oid relid, AttrNumber to);

ZdmStep *
zdm_identity_step(Oid relid, const char *from, const char *to)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
								   "move the identity with its sequence",
								   psprintf("-- catalog: the identity of column %s of table %s is column %s's",
											quote_identifier(from), zdm_quote_relation(relid), quote_identifier(to)));

	step->from = pstrdup(from);
	step->to = pstrdup(to);
	step->change = move_identity;
	return step;
}

static void
move_identity(ZdmStep *step)
{
	Relation	attributes = table_open(AttributeRelationId, RowExclusiveLock);
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(step->relation))
	{
		Oid			relid = lfirst_oid(lc);
		HeapTuple	from = SearchSysCacheCopyAttName(relid, step->from);
		HeapTuple	to = SearchSysCacheCopyAttName(relid, step->to);
		Form_pg_attribute source;
		Form_pg_attribute target;

		if (!HeapTupleIsValid(from) || !HeapTupleIsValid(to))
			elog(ERROR, "column \"%s\" or \"%s\" does not exist", step->from, step->to);
		source = (Form_pg_attribute) GETSTRUCT(from);
		target = (Form_pg_attribute) GETSTRUCT(to);
		if (source->attidentity == '\0')
			continue;
		if (relid == step->relation)
			move_sequence(zdm_identity_sequence(relid, source->attnum), relid, target->attnum);
		target->attidentity = source->attidentity;
		source->attidentity = '\0';
		CatalogTupleUpdate(attributes, &from->t_self, from);
		CatalogTupleUpdate(attributes, &to->t_self, to);
		CacheInvalidateRelcacheByRelid(relid);
	}
	table_close(attributes, RowExclusiveLock);
}

static void
move_sequence(Oid sequence, Oid relid, AttrNumber to)
{
	ObjectAddress depender;
	ObjectAddress referenced;

	(void) deleteDependencyRecordsForClass(RelationRelationId, sequence,
										   RelationRelationId, DEPENDENCY_INTERNAL);
	ObjectAddressSet(depender, RelationRelationId, sequence);
	ObjectAddressSubSet(referenced, RelationRelationId, relid, to);
	recordDependencyOn(&depender, &referenced, DEPENDENCY_INTERNAL);
}

/*
 * The privileges of a view that is to be there by then, or of one of its
 * columns; acl as the server prints it, NULL for none but its owner's.
 */
ZdmStep *
zdm_acl_step(Oid relid, ZdmPlace view, const char *column, const char *acl)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, NoLock,
								   "give the view its privileges",
								   psprintf("-- catalog: the privileges of %s%s%s are %s", zdm_quote_place(view),
											column ? "." : "", column ? quote_identifier(column) : "",
											acl ? acl : "its owner's"));

	step->view_schema = view.schema;
	step->view_name = view.name;
	step->from = column ? pstrdup(column) : NULL;
	step->to = acl ? pstrdup(acl) : NULL;
	step->change = set_acl;
	return step;
}

static void
set_acl(ZdmStep *step)
{
	Oid			relid = get_relname_relid(step->view_name, get_namespace_oid(step->view_schema, false));
	Datum		acl = acl_of_text(step->to);
	Relation	catalog;
	HeapTuple	tuple;

	if (step->from != NULL)
	{
		catalog = table_open(AttributeRelationId, RowExclusiveLock);
		tuple = SearchSysCacheCopyAttName(relid, step->from);
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "column \"%s\" does not exist", step->from);
		replace_acl(catalog, tuple, Anum_pg_attribute_attacl, relid,
					((Form_pg_attribute) GETSTRUCT(tuple))->attnum, acl, step->to == NULL);
	}
	else
	{
		catalog = table_open(RelationRelationId, RowExclusiveLock);
		tuple = SearchSysCacheCopy1(RELOID, ObjectIdGetDatum(relid));
		if (!HeapTupleIsValid(tuple))
			elog(ERROR, "cache lookup failed for relation %u", relid);
		replace_acl(catalog, tuple, Anum_pg_class_relacl, relid, 0, acl, step->to == NULL);
	}
	table_close(catalog, RowExclusiveLock);
}

static Datum
acl_of_text(const char *text)
{
	return text == NULL ? (Datum) 0
		: OidInputFunctionCall(F_ARRAY_IN, pstrdup(text), ACLITEMOID, -1);
}

static void
replace_acl(Relation catalog, HeapTuple tuple, AttrNumber column, Oid relid,
			int subid, Datum acl, bool none)
{
	bool		isnull;
	Datum		old = heap_getattr(tuple, column, RelationGetDescr(catalog), &isnull);
	bool		nulls[Natts_pg_class + Natts_pg_attribute] = {false};
	bool		replaces[Natts_pg_class + Natts_pg_attribute] = {false};
	Datum		values[Natts_pg_class + Natts_pg_attribute] = {0};
	Oid		   *had = NULL;
	Oid		   *has = NULL;
	int			count_had = isnull ? 0 : aclmembers(DatumGetAclP(old), &had);
	int			count_has = none ? 0 : aclmembers(DatumGetAclP(acl), &has);

	values[column - 1] = acl;
	nulls[column - 1] = none;
	replaces[column - 1] = true;
	tuple = heap_modify_tuple(tuple, RelationGetDescr(catalog), values, nulls, replaces);
	CatalogTupleUpdate(catalog, &tuple->t_self, tuple);
	updateAclDependencies(RelationRelationId, relid, subid, zdm_table_owner(relid),
						  count_had, had, count_has, has);
}

/*
 * Whether two columns have other privileges, or would, where there is no
 * second one yet.
 */
bool
zdm_acl_differs(Oid relid, const char *column, const char *other)
{
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attribute b"
							 " ON b.attrelid OPERATOR(pg_catalog.=) a.attrelid AND b.attname OPERATOR(pg_catalog.=) $3"
							 " WHERE a.attrelid OPERATOR(pg_catalog.=) $1 AND a.attname OPERATOR(pg_catalog.=) $2"
							 " AND a.attacl::pg_catalog.text IS DISTINCT FROM b.attacl::pg_catalog.text",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
									  zdm_arg_name(column), zdm_arg_name(other))) != NIL;
}

ZdmStep *
zdm_acl_copy_step(Oid relid, const char *from, const char *to)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, NoLock,
								   "copy the column's privileges",
								   psprintf("-- catalog: the privileges of %s.%s are those of column %s",
											zdm_quote_relation(relid), quote_identifier(to), quote_identifier(from)));

	step->from = pstrdup(from);
	step->to = pstrdup(to);
	step->change = copy_acl;
	return step;
}

static void
copy_acl(ZdmStep *step)
{
	zdm_acl_copy(step->relation, step->from, step->to);
}

/*
 * Give a column the privileges that another one has, and no others.
 */
void
zdm_acl_copy(Oid relid, const char *from, const char *to)
{
	Relation	catalog = table_open(AttributeRelationId, RowExclusiveLock);
	HeapTuple	source = SearchSysCacheCopyAttName(relid, from);
	HeapTuple	target = SearchSysCacheCopyAttName(relid, to);
	bool		none;
	Datum		acl;

	if (!HeapTupleIsValid(source) || !HeapTupleIsValid(target))
		elog(ERROR, "column \"%s\" or \"%s\" does not exist", from, to);
	acl = heap_getattr(source, Anum_pg_attribute_attacl, RelationGetDescr(catalog), &none);
	replace_acl(catalog, target, Anum_pg_attribute_attacl, relid,
				((Form_pg_attribute) GETSTRUCT(target))->attnum, acl, none);
	table_close(catalog, RowExclusiveLock);
	CommandCounterIncrement();
}

ZdmStep *
zdm_recompile_step(Oid relid, const char *column)
{
	ZdmStep    *step = zdm_step_on(relid, ZDM_STEP_CATALOG, AccessExclusiveLock,
								   "let sessions compile functions that name the column anew",
								   psprintf("-- catalog: PL/pgSQL functions with the word %s",
											quote_identifier(column)));

	step->from = pstrdup(column);
	step->change = recompile;
	return step;
}

/*
 * By the word alone: a trigger's function, or one with a row in a variable,
 * need not name the table.
 */
static void
recompile(ZdmStep *step)
{
	static const char *const sql =
		"SELECT p.oid::pg_catalog.text FROM pg_catalog.pg_proc p"
		" JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang"
		" WHERE l.lanname OPERATOR(pg_catalog.=) 'plpgsql'"
		" AND pg_catalog.strpos(pg_catalog.lower(p.prosrc), pg_catalog.lower($1)) OPERATOR(pg_catalog.>) 0 ORDER BY p.oid";
	Relation	functions = table_open(ProcedureRelationId, RowExclusiveLock);
	ListCell   *lc;

	foreach(lc, zdm_query_strings(sql, ZDM_ARGS(zdm_arg_text(step->from))))
	{
		HeapTuple	tuple = SearchSysCacheCopy1(PROCOID,
												ObjectIdGetDatum((Oid) strtoul(lfirst(lc), NULL, 10)));

		if (HeapTupleIsValid(tuple) && lock_function(functions, tuple))
			CatalogTupleUpdate(functions, &tuple->t_self, tuple);
	}
	table_close(functions, RowExclusiveLock);
	plan_anew();
}

/*
 * A call that has begun before waits for the table in the middle of its
 * function, which is not compiled anew for it: the next expression that takes
 * the column from a row would be prepared for the old type, and belongs to no
 * table whose change would tell.  All prepared plans of a database are made
 * anew when something about a schema may have changed, so it is said that it
 * has.
 */
static void
plan_anew(void)
{
	Relation	schemas = table_open(NamespaceRelationId, AccessShareLock);
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(PG_CATALOG_NAMESPACE));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", PG_CATALOG_NAMESPACE);
	CacheInvalidateHeapTuple(schemas, tuple, NULL);
	ReleaseSysCache(tuple);
	table_close(schemas, AccessShareLock);
}

/*
 * Lock a function's row, without waiting, as everybody else waits for the
 * table by now.  Returns false where another transaction has just written or
 * dropped it, which is as good.
 */
static bool
lock_function(Relation functions, HeapTuple tuple)
{
	HeapTupleData row = {.t_self = tuple->t_self};
	TM_FailureData failure;
	Buffer		buffer;
	TM_Result	result = heap_lock_tuple(functions, &row, GetCurrentCommandId(true),
										 LockTupleNoKeyExclusive, LockWaitSkip, false,
										 &buffer, &failure);

	ReleaseBuffer(buffer);
	if (result == TM_WouldBlock)
		ereport(ERROR,
				errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				errmsg("function \"%s\" is being changed by another transaction",
					   NameStr(((Form_pg_proc) GETSTRUCT(tuple))->proname)),
				errdetail("Its source has the column's name, so that sessions must compile it anew when the column changes its type."),
				errhint("Nothing was changed. End or wait for that transaction and run the same call again."));
	return result == TM_Ok;
}
