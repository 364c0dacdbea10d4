/*-------------------------------------------------------------------------
 *
 * join_table.c
 *	  A join table: its references, and what it must be to become a column.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/transam.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_index.h"
#include "lib/stringinfo.h"
#include "nodes/parsenodes.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

#include "catalog/mirror_rule.h"
#include "schema/column.h"
#include "schema/join_table.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* So many keys with several rows are listed. */
#define MOST_DUPLICATES 10

static List *references_of(Relation rel);
static ZdmReference *from_foreign_key(Relation rel, ForeignKeyCacheInfo *key);
static bool same_names(List *a, List *b);
static List *given_columns(Relation join, const char *given, const char *argument);
static void complete(Relation target, ZdmReference *reference, const char *argument);
static pg_noreturn void ambiguous(Relation join, List *found, const char *argument);
static pg_noreturn void not_unique(Relation join, List *columns);
static char *reference_sql(ZdmReference *reference, List *columns, char action,
						   const char *replacement);
static const char *action_sql(char action);

/*
 * Whether the two tables can be mirrored at all.
 */
void
zdm_check_join_table(Relation join, Relation target, int64 migration)
{
	ListCell   *lc;

	if (RelationGetRelid(join) == RelationGetRelid(target))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" is both the join table and the target",
					   RelationGetRelationName(join)),
				errhint("Name the table that has the rows which the join table's refer to."));
	foreach(lc, zdm_migrations_on(RelationGetRelid(join)))
	{
		ZdmMigration *other = lfirst(lc);

		if (other->id != migration)
			ereport(ERROR,
					errcode(ERRCODE_OBJECT_IN_USE),
					errmsg("table \"%s\" is in migration \"%s\" already",
						   RelationGetRelationName(join), other->name),
					errhint("Finish that one first, or SELECT zdm.rollback(%s);",
							quote_literal_cstr(other->name)));
	}
	if (join->rd_rel->relpersistence != target->rd_rel->relpersistence)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("only one of tables \"%s\" and \"%s\" is logged",
					   RelationGetRelationName(join), RelationGetRelationName(target)),
				errhint("A crash would empty the other one: ALTER TABLE ... SET LOGGED first."));
}

/*
 * The columns of the join table that refer to the target, or, without one, to
 * what else it joins.  They are read from its foreign keys, unless the call
 * has named them (given: an array as text).  other: those that it is not.
 */
ZdmReference *
zdm_find_reference(Relation join, Relation target, const char *given,
				   const char *argument, ZdmReference *other)
{
	List	   *columns = given ? given_columns(join, given, argument) : NIL;
	List	   *found = NIL;
	ZdmReference *reference;
	ListCell   *lc;

	foreach(lc, references_of(join))
	{
		reference = lfirst(lc);
		if ((target != NULL && reference->relation != RelationGetRelid(target)) ||
			(columns != NIL && !same_names(reference->columns, columns)) ||
			(other != NULL && same_names(reference->columns, other->columns)))
			continue;
		found = lappend(found, reference);
	}
	if (list_length(found) > 1)
		ambiguous(join, found, argument);
	if (found != NIL)
		return linitial(found);
	if (columns == NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				target != NULL
				? errmsg("table \"%s\" has no foreign key to table \"%s\"",
						 RelationGetRelationName(join), RelationGetRelationName(target))
				: errmsg("table \"%s\" has no other foreign key",
						 RelationGetRelationName(join)),
				errhint("Say which of its columns are meant: %s => '{...}'.", argument));
	reference = palloc0_object(ZdmReference);
	reference->columns = columns;
	reference->valid = true;
	if (target != NULL)
		complete(target, reference, argument);
	return reference;
}

/*
 * The foreign key on just these columns, NULL where there is none.
 */
ZdmReference *
zdm_reference_of(Relation rel, List *columns)
{
	ListCell   *lc;

	foreach(lc, references_of(rel))
	{
		if (same_names(((ZdmReference *) lfirst(lc))->columns, columns))
			return lfirst(lc);
	}
	return NULL;
}

static List *
references_of(Relation rel)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, (List *) zdm_copy_node(RelationGetFKeyList(rel)))
		result = lappend(result, from_foreign_key(rel, lfirst(lc)));
	return result;
}

static ZdmReference *
from_foreign_key(Relation rel, ForeignKeyCacheInfo *key)
{
	ZdmReference *reference = palloc0_object(ZdmReference);
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(key->conoid));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", key->conoid);
	reference->constraint = key->conoid;
	reference->relation = key->confrelid;
	reference->valid = ((Form_pg_constraint) GETSTRUCT(tuple))->convalidated;
	for (int i = 0; i < key->nkeys; i++)
	{
		reference->columns = lappend(reference->columns,
									 get_attname(RelationGetRelid(rel), key->conkey[i], false));
		reference->referenced = lappend(reference->referenced,
										get_attname(key->confrelid, key->confkey[i], false));
	}
	ReleaseSysCache(tuple);
	return reference;
}

/* In any order. */
static bool
same_names(List *a, List *b)
{
	ListCell   *x,
			   *y;

	if (list_length(a) != list_length(b))
		return false;
	foreach(x, a)
	{
		bool		found = false;

		foreach(y, b)
			found |= strcmp(lfirst(x), lfirst(y)) == 0;
		if (!found)
			return false;
	}
	return true;
}

static List *
given_columns(Relation join, const char *given, const char *argument)
{
	List	   *columns = zdm_query_strings("SELECT u.name::pg_catalog.text FROM pg_catalog.unnest($1::pg_catalog.name[])"
											" WITH ORDINALITY u(name, number) ORDER BY u.number",
											ZDM_ARGS(zdm_arg_text(given)));
	ListCell   *lc;

	if (columns == NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" names no column", argument),
				errhint("Leave the argument out where foreign keys tell."));
	foreach(lc, columns)
	{
		if (lfirst(lc) == NULL)
			ereport(ERROR,
					errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					errmsg("\"%s\" holds a NULL", argument),
					errhint("Name the columns."));
		zdm_check_mirrored_column(join, lfirst(lc));
	}
	return columns;
}

/*
 * Without a foreign key, the columns have the target's primary key.
 */
static void
complete(Relation target, ZdmReference *reference, const char *argument)
{
	reference->referenced = zdm_primary_key_columns(target);
	if (list_length(reference->referenced) != list_length(reference->columns) ||
		list_length(reference->columns) > 1)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("\"%s\" does not say which columns of table \"%s\" are meant",
					   argument, RelationGetRelationName(target)),
				errhint("Give the join table a foreign key on them."));
}

/*
 * The columns of a table's primary key, in its order; NIL where it has none.
 */
List *
zdm_primary_key_columns(Relation rel)
{
	List	   *result = NIL;
	Oid			relid;
	Relation	index;

	(void) RelationGetIndexList(rel);
	relid = zdm_primary_key_index(rel);
	if (!OidIsValid(relid))
		return NIL;
	index = index_open(relid, AccessShareLock);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		result = lappend(result, get_attname(RelationGetRelid(rel),
											 index->rd_index->indkey.values[i], false));
	index_close(index, AccessShareLock);
	return result;
}

/*
 * Whether a line in a list of dependents is an index on just these columns,
 * or the constraint that it stands for.
 */
bool
zdm_is_index_on(Relation rel, List *columns, const char *description)
{
	bool		result = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(rel))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		ObjectAddress object;
		List	   *names = NIL;

		ObjectAddressSet(object, RelationRelationId, lfirst_oid(lc));
		for (int i = 0; i < index->rd_index->indnatts; i++)
			if (index->rd_index->indkey.values[i] > 0)
				names = lappend(names, get_attname(RelationGetRelid(rel),
												   index->rd_index->indkey.values[i], false));
		result |= !index->rd_index->indisunique && index->rd_index->indnatts == list_length(names) &&
			same_names(names, columns) && strcmp(getObjectDescription(&object, false), description) == 0;
		index_close(index, AccessShareLock);
	}
	return result;
}

static void
ambiguous(Relation join, List *found, const char *argument)
{
	StringInfoData list;
	ListCell   *lc;

	initStringInfo(&list);
	foreach(lc, found)
		appendStringInfo(&list, "%s%s => '{%s}'", list.len ? " or " : "", argument,
						 zdm_column_list(((ZdmReference *) lfirst(lc))->columns));
	ereport(ERROR,
			errcode(ERRCODE_AMBIGUOUS_COLUMN),
			errmsg("table \"%s\" has several foreign keys that could be meant",
				   RelationGetRelationName(join)),
			errhint("Say which one: %s.", list.data));
}

/*
 * Whether the column exists and is written.  Unlike one that is kept in sync
 * in its own row, it may be part of a partition key.
 */
void
zdm_check_mirrored_column(Relation rel, const char *column)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), column);

	/* What is wrong with these is wrong for all. */
	if (attnum <= 0 || TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated)
		zdm_check_column(rel, column);
}

/*
 * Whether the columns always refer to a row: one without could not move into
 * a column of that row.
 */
void
zdm_check_reference(Relation join, ZdmReference *reference)
{
	HeapTuple	tuple;
	Form_pg_constraint form;
	ListCell   *lc;

	foreach(lc, reference->columns)
	{
		AttrNumber	attnum = get_attnum(RelationGetRelid(join), lfirst(lc));

		zdm_check_mirrored_column(join, lfirst(lc));
		if (!TupleDescAttr(RelationGetDescr(join), attnum - 1)->attnotnull)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" of table \"%s\" may be NULL", (char *) lfirst(lc),
						   RelationGetRelationName(join)),
					errdetail("A row without it has no place in the new shape."),
					errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL;",
							zdm_quote_relation(RelationGetRelid(join)),
							quote_identifier(lfirst(lc))));
	}
	if (!OidIsValid(reference->constraint))
		return;
	if (!reference->valid)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("foreign key \"%s\" of table \"%s\" is not valid",
					   get_constraint_name(reference->constraint), RelationGetRelationName(join)),
				errhint("ALTER TABLE %s VALIDATE CONSTRAINT %s;",
						zdm_quote_relation(RelationGetRelid(join)),
						quote_identifier(get_constraint_name(reference->constraint))));
	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(reference->constraint));
	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", reference->constraint);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	if (form->confdeltype == FKCONSTR_ACTION_SETNULL || form->confdeltype == FKCONSTR_ACTION_SETDEFAULT ||
		form->confupdtype == FKCONSTR_ACTION_SETNULL || form->confupdtype == FKCONSTR_ACTION_SETDEFAULT)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("foreign key \"%s\" of table \"%s\" sets its columns NULL or to a default",
					   NameStr(form->conname), RelationGetRelationName(join)),
				errhint("Replace it by one with CASCADE, RESTRICT or NO ACTION."));
	ReleaseSysCache(tuple);
}

/*
 * Whether the join table has at most one row for a row of the target, and
 * cannot get a second one.
 */
void
zdm_check_one_row(Relation join, List *columns)
{
	if (!zdm_has_unique_index(join, columns))
		not_unique(join, columns);
}

/*
 * Whether a unique index, of all its rows, lets a table have one row only for
 * values of the columns.
 */
bool
zdm_has_unique_index(Relation join, List *columns)
{
	bool		result = false;
	ListCell   *lc;

	foreach(lc, RelationGetIndexList(join))
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		bool		covered = form->indisunique && form->indisvalid &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL);

		for (int i = 0; covered && i < form->indnkeyatts; i++)
		{
			char	   *name = get_attname(RelationGetRelid(join), form->indkey.values[i], false);
			bool		found = false;
			ListCell   *column;

			foreach(column, columns)
				found |= strcmp(lfirst(column), name) == 0;
			covered = found;
		}
		result |= covered;
		index_close(index, AccessShareLock);
	}
	return result;
}

static void
not_unique(Relation join, List *columns)
{
	char	   *table = zdm_quote_relation(RelationGetRelid(join));
	char	   *names = zdm_column_list(columns);
	ZdmIdentity saved;
	List	   *duplicates;

	zdm_become(zdm_table_owner(RelationGetRelid(join)), &saved);
	duplicates = zdm_query_strings(psprintf("SELECT pg_catalog.format('(%%s)=%%s: %%s rows', %s, (pg_catalog.array_agg(ROW(%s)))[1], pg_catalog.count(*))"
											" FROM %s GROUP BY %s HAVING pg_catalog.count(*) OPERATOR(pg_catalog.>) 1"
											" ORDER BY %s LIMIT %d",
											quote_literal_cstr(names), names, table, names, names,
											MOST_DUPLICATES + 1),
								   0, NULL);
	zdm_unbecome(&saved);
	if (duplicates == NIL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("table \"%s\" may have several rows for one %s",
					   RelationGetRelationName(join), zdm_names_text(columns)),
				errdetail("There is none now, and there must not come any."),
				errhint("CREATE UNIQUE INDEX CONCURRENTLY ON %s (%s);", table, names));
	ereport(ERROR,
			errcode(ERRCODE_UNIQUE_VIOLATION),
			errmsg("table \"%s\" has several rows for one %s",
				   RelationGetRelationName(join), zdm_names_text(columns)),
			errdetail("%s", zdm_some_lines(duplicates, MOST_DUPLICATES)),
			errhint("Delete all but one of each, then CREATE UNIQUE INDEX CONCURRENTLY ON %s (%s);",
					table, names));
}

/*
 * The foreign key that columns of the target get, which says the same as the
 * join table's: where that deletes its row, the column becomes NULL.
 */
char *
zdm_reference_sql(ZdmReference *reference, List *columns)
{
	return reference_sql(reference, columns, FKCONSTR_ACTION_CASCADE, "SET NULL");
}

/*
 * The foreign key of a join table's columns, which says the same as that of a
 * column: where that becomes NULL, the join table's row goes.
 */
char *
zdm_join_reference_sql(ZdmReference *reference, List *columns)
{
	return reference_sql(reference, columns, FKCONSTR_ACTION_SETNULL, "CASCADE");
}

/*
 * A foreign key like another one, but for one action on delete.
 */
static char *
reference_sql(ZdmReference *reference, List *columns, char action,
			  const char *replacement)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(reference->constraint));
	Form_pg_constraint form;
	char	   *result;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", reference->constraint);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	result = psprintf("FOREIGN KEY (%s) REFERENCES %s (%s)%s ON DELETE %s ON UPDATE %s%s%s",
					  zdm_column_list(columns), zdm_quote_relation(reference->relation),
					  zdm_column_list(reference->referenced),
					  form->confmatchtype == FKCONSTR_MATCH_FULL ? " MATCH FULL" : "",
					  form->confdeltype == action ? replacement : action_sql(form->confdeltype),
					  action_sql(form->confupdtype),
					  form->condeferrable ? " DEFERRABLE" : "",
					  form->condeferred ? " INITIALLY DEFERRED" : "");
	ReleaseSysCache(tuple);
	return result;
}

static const char *
action_sql(char action)
{
	switch (action)
	{
		case FKCONSTR_ACTION_CASCADE:
			return "CASCADE";
		case FKCONSTR_ACTION_RESTRICT:
			return "RESTRICT";
		default:
			return "NO ACTION";
	}
}

/*
 * A constraint as lists of dependents name it.
 */
char *
zdm_constraint_description(Oid constraint)
{
	ObjectAddress object;

	ObjectAddressSet(object, ConstraintRelationId, constraint);
	return getObjectDescription(&object, false);
}

/*
 * Whether a value of one column may become one of the other: without a cast,
 * or by one of the server's own.  It happens as the owner of the table that is
 * written, who must not run what the other table's owner has made a cast.
 */
void
zdm_check_mirrored_types(Oid a, const char *a_column, Oid b, const char *b_column,
						 const char *hint)
{
	Oid			a_type = getBaseType(get_atttype(a, get_attnum(a, a_column)));
	Oid			b_type = getBaseType(get_atttype(b, get_attnum(b, b_column)));

	if (a_type == b_type ||
		(a_type < FirstNormalObjectId && b_type < FirstNormalObjectId) ||
		(IsBinaryCoercible(a_type, b_type) && IsBinaryCoercible(b_type, a_type)))
		return;
	ereport(ERROR,
			errcode(ERRCODE_DATATYPE_MISMATCH),
			errmsg("column \"%s\" of table \"%s\" is of type %s, and column \"%s\" of table \"%s\" of type %s",
				   a_column, get_rel_name(a), format_type_be(a_type),
				   b_column, get_rel_name(b), format_type_be(b_type)),
			errdetail("They are kept in sync, and nobody's own cast is run for it."),
			errhint("%s", hint));
}

/*
 * Raise an error where somebody's ALTER TABLE has taken what a mirror rule
 * needs.
 */
void
zdm_guard_mirror(ZdmMigration *migration)
{
	ListCell   *lc,
			   *first,
			   *second;

	foreach(lc, migration->mirrors)
	{
		ZdmMirrorRule *rule = lfirst(lc);

		forboth(first, list_concat_copy(rule->first_keys, rule->first_columns),
				second, list_concat_copy(rule->second_keys, rule->second_columns))
		{
			AttrNumber	a = get_attnum(rule->first, lfirst(first));
			AttrNumber	b = get_attnum(rule->second, lfirst(second));

			if (a <= 0 || b <= 0)
				ereport(ERROR,
						errcode(ERRCODE_OBJECT_IN_USE),
						errmsg("column \"%s\" of table \"%s\" is needed by migration \"%s\"",
							   (char *) lfirst(a <= 0 ? first : second),
							   get_rel_name(a <= 0 ? rule->first : rule->second), migration->name),
						errhint("Finish the migration first, or SELECT zdm.rollback(%s);",
								quote_literal_cstr(migration->name)));
			zdm_check_mirrored_types(rule->first, lfirst(first), rule->second, lfirst(second),
									 psprintf("Finish the migration first, or SELECT zdm.rollback(%s);",
											  quote_literal_cstr(migration->name)));
		}
	}
}
