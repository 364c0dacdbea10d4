/*-------------------------------------------------------------------------
 *
 * clone_check.c
 *	  Whether a table can have a clone, and a table of the caller's be it.
 *
 * Nothing that is on the source gets lost without a word: what cannot be
 * carried over is refused, with the reason and what to do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/table.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/step.h"
#include "schema/clone.h"
#include "schema/column.h"
#include "schema/relation.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* Columns of a table, and what must be the same in the other one. */
#define COLUMNS_OF(table) \
	"SELECT attname, pg_catalog.format('%s%s%s', pg_catalog.format_type(atttypid, atttypmod)," \
	" (SELECT ' COLLATE ' OPERATOR(pg_catalog.||) collname FROM pg_catalog.pg_collation c" \
	" WHERE c.oid OPERATOR(pg_catalog.=) attcollation AND collname OPERATOR(pg_catalog.<>) 'default')," \
	" CASE WHEN attgenerated OPERATOR(pg_catalog.<>) '' THEN ' GENERATED' END) AS what" \
	" FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) " table \
	" AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped"

static void check_partition_key(Relation source, const ZdmClone *clone);
static void check_mirrored(Relation rel, List *keys);
static void check_identity(Relation source, List *keys);
static void check_own_reference(Relation rel);
static void check_constraints(Relation source, const ZdmClone *clone);
static void check_bare(Relation source, Oid made);
static void check_privileges(Relation source, Oid made);
static pg_noreturn void unlike(Relation source, Oid made, const char *detail);

/*
 * Whether everything on the source can be carried over, so that nothing gets
 * lost without a word.
 */
void
zdm_clone_check(Relation source, const ZdmClone *clone)
{
	char	   *table = zdm_quote_relation(clone->source);

	/* Who builds an index runs the functions in it, before he gives it away. */
	if (source->rd_rel->relowner != GetUserId())
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" belongs to role \"%s\", and so must the second one from its beginning",
					   RelationGetRelationName(source),
					   GetUserNameFromId(source->rd_rel->relowner, false)),
				errdetail("Functions of the owner's in its indexes would run with your rights."),
				errhint("SET ROLE %s; and make the same call again.",
						quote_identifier(GetUserNameFromId(source->rd_rel->relowner, false))));
	if (zdm_clone_key(source) == NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has no primary key", RelationGetRelationName(source)),
				errdetail("Without a key nobody can tell which row of the one table is which of the other."),
				errhint("CREATE UNIQUE INDEX CONCURRENTLY ... ON %s (...); then ALTER TABLE %s REPLICA IDENTITY USING INDEX ...;",
						table, table));
	if (clone->by_expression)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("the primary key of table \"%s\" cannot be carried over to a table that is partitioned by an expression",
					   RelationGetRelationName(source)),
				errhint("Partition by columns, or make the table yourself, with what is to take the key's place, and call this with its name."));
	if (clone->partitioned && !OidIsValid(zdm_primary_key_index(source)))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has no primary key", RelationGetRelationName(source)),
				errdetail("A partitioned table like it would have no replica identity."),
				errhint("ALTER TABLE %s ADD PRIMARY KEY ...;", table));
	check_partition_key(source, clone);
	check_mirrored(source, zdm_clone_key(source));
	check_constraints(source, clone);
}

/*
 * Whether what is written to a table can be repeated on the other, and what is
 * repeated on it stored there.
 */
static void
check_mirrored(Relation rel, List *keys)
{
	if (rel->rd_rules != NULL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" has rules", RelationGetRelationName(rel)),
				errdetail("What a rule makes of a statement does not come to the other table."),
				errhint("Make triggers of them, or drop them for the time of the migration."));
	check_identity(rel, keys);
	check_own_reference(rel);
}

/*
 * The same of two tables that hold every row, after somebody's DDL on one of
 * them: both must still hold it.
 */
void
zdm_clone_guard(Oid source, Oid made, List *keys, const char *migration)
{
	static const char *const sql =
		"SELECT pg_catalog.format('column %I: %s in the first table, %s in the second', coalesce(a.attname, b.attname),"
		" coalesce(a.what, 'none'), coalesce(b.what, 'none'))"
		" FROM (" COLUMNS_OF("$1") ") a FULL JOIN (" COLUMNS_OF("$2") ") b ON a.attname OPERATOR(pg_catalog.=) b.attname"
		" WHERE a.what IS DISTINCT FROM b.what ORDER BY 1";
	List	   *differences = zdm_query_strings(sql, ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(source)),
															  ZDM_ARG(OIDOID, ObjectIdGetDatum(made))));
	ListCell   *lc;

	if (differences != NIL)
		ereport(ERROR,
				errcode(ERRCODE_OBJECT_IN_USE),
				errmsg("the columns of tables \"%s\" and \"%s\" must stay alike while migration \"%s\" is in flight",
					   get_rel_name(source), get_rel_name(made), migration),
				errdetail("%s", zdm_lines(differences)),
				errhint("Finish the migration first, or SELECT zdm.rollback(%s);", quote_literal_cstr(migration)));
	foreach(lc, list_make2_oid(source, made))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);

		check_mirrored(rel, keys);
		table_close(rel, AccessShareLock);
	}
}

/*
 * The partition key is in the primary key, and so is never NULL there.
 */
static void
check_partition_key(Relation source, const ZdmClone *clone)
{
	ListCell   *lc;

	foreach(lc, clone->partition_key)
	{
		AttrNumber	attnum = zdm_check_user_column(source, lfirst(lc));

		if (!OidIsValid(clone->made) &&
			!TupleDescAttr(RelationGetDescr(source), attnum - 1)->attnotnull)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" of table \"%s\" may be NULL, and so cannot be in the partition key",
						   (char *) lfirst(lc), RelationGetRelationName(source)),
					errdetail("The primary key of the second table would have it."),
					errhint("ALTER TABLE %s ALTER COLUMN %s SET NOT NULL;",
							zdm_quote_relation(RelationGetRelid(source)), quote_identifier(lfirst(lc))));
	}
}

/*
 * A statement that sets a row's columns names all but those of the key.
 */
static void
check_identity(Relation source, List *keys)
{
	for (int i = 0; i < RelationGetNumberOfAttributes(source); i++)
	{
		Form_pg_attribute attr = TupleDescAttr(RelationGetDescr(source), i);
		bool		is_key = attr->attisdropped;
		ListCell   *lc;

		foreach(lc, keys)
			is_key |= strcmp(lfirst(lc), NameStr(attr->attname)) == 0;
		if (!is_key && attr->attidentity == ATTRIBUTE_IDENTITY_ALWAYS)
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" of table \"%s\" is GENERATED ALWAYS AS IDENTITY and not in the key",
						   NameStr(attr->attname), RelationGetRelationName(source)),
					errdetail("No update of the row could be repeated."),
					errhint("ALTER TABLE %s ALTER COLUMN %s SET GENERATED BY DEFAULT;",
							zdm_quote_relation(RelationGetRelid(source)),
							quote_identifier(NameStr(attr->attname))));
	}
}

/*
 * A constraint is valid on the empty clone, and so would be demanded there of
 * rows of which the source does not demand it.
 */
static void
check_constraints(Relation source, const ZdmClone *clone)
{
	List	   *names = zdm_query_strings("SELECT conname::pg_catalog.text FROM pg_catalog.pg_constraint"
										  " WHERE conrelid OPERATOR(pg_catalog.=) $1 AND NOT convalidated"
										  " ORDER BY conname COLLATE \"C\"",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(clone->source))));

	if (names != NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("constraint \"%s\" of table \"%s\" is not validated",
					   (char *) linitial(names), RelationGetRelationName(source)),
				errdetail("Rows that violate it could not be stored in the second table."),
				errhint("ALTER TABLE %s VALIDATE CONSTRAINT %s;", zdm_quote_relation(clone->source),
						quote_identifier(linitial(names))));
	if (!clone->partitioned)
		return;
	names = zdm_query_strings("SELECT conname::pg_catalog.text FROM pg_catalog.pg_constraint"
							  " WHERE conrelid OPERATOR(pg_catalog.=) $1 AND contype OPERATOR(pg_catalog.=) 'x'"
							  " ORDER BY conname COLLATE \"C\"",
							  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(clone->source))));
	if (names != NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("exclusion constraint \"%s\" of table \"%s\" cannot be carried over to a partitioned table",
					   (char *) linitial(names), RelationGetRelationName(source)),
				errhint("Make the partitioned table yourself, with what is to take its place, and call this with its name."));
}

/*
 * Rows come to the other table in the order in which they are written, one by
 * one.
 */
static void
check_own_reference(Relation rel)
{
	List	   *names = zdm_query_strings("SELECT conname::pg_catalog.text FROM pg_catalog.pg_constraint"
										  " WHERE conrelid OPERATOR(pg_catalog.=) $1 AND confrelid OPERATOR(pg_catalog.=) $1"
										  " ORDER BY conname COLLATE \"C\"",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(rel)))));

	if (names != NIL)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("table \"%s\" refers to itself by foreign key \"%s\"",
					   RelationGetRelationName(rel), (char *) linitial(names)),
				errdetail("Rows come to the second table one by one: a row that comes before the one that it refers to would be refused there."),
				errhint("Drop the foreign key for the time of the migration, or use strategy => 'view'."));
}

/*
 * Whether a table that the caller has made is one that can hold the source's
 * rows.
 */
void
zdm_clone_check_made(Relation source, Oid made)
{
	Relation	rel = relation_open(made, AccessShareLock);
	List	   *differences;
	ListCell   *lc;

	if (rel->rd_rel->relkind != RELKIND_RELATION &&
		rel->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				errcode(ERRCODE_WRONG_OBJECT_TYPE),
				errmsg("\"%s\" is not a table", RelationGetRelationName(rel)),
				errhint("Choose another name."));
	if (!object_ownercheck(RelationRelationId, made, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, RelationGetRelationName(rel));
	if (rel->rd_rel->relowner != source->rd_rel->relowner)
		unlike(source, made, "It has another owner.");
	if (rel->rd_rel->relpersistence != source->rd_rel->relpersistence)
		unlike(source, made, "Only one of the two is logged.");
	differences = zdm_query_strings("SELECT pg_catalog.format('column %I: %s here, %s there', coalesce(a.attname, b.attname),"
									" coalesce(a.what, 'none'), coalesce(b.what, 'none')) FROM"
									" (SELECT attname, pg_catalog.format('%s%s%s', pg_catalog.format_type(atttypid, atttypmod),"
									" CASE WHEN attnotnull THEN ' NOT NULL' END, CASE WHEN attgenerated OPERATOR(pg_catalog.<>) '' THEN ' GENERATED' END) AS what"
									" FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) $1 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped) a"
									" FULL JOIN (SELECT attname, pg_catalog.format('%s%s%s', pg_catalog.format_type(atttypid, atttypmod),"
									" CASE WHEN attnotnull THEN ' NOT NULL' END, CASE WHEN attgenerated OPERATOR(pg_catalog.<>) '' THEN ' GENERATED' END) AS what"
									" FROM pg_catalog.pg_attribute WHERE attrelid OPERATOR(pg_catalog.=) $2 AND attnum OPERATOR(pg_catalog.>) 0 AND NOT attisdropped) b"
									" ON a.attname OPERATOR(pg_catalog.=) b.attname"
									" WHERE a.what IS DISTINCT FROM b.what ORDER BY 1",
									ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(RelationGetRelid(source))),
											 ZDM_ARG(OIDOID, ObjectIdGetDatum(made))));
	if (differences != NIL)
		unlike(source, made, zdm_lines(differences));
	foreach(lc, zdm_storage_relations(made))
	{
		Relation	part = table_open(lfirst_oid(lc), AccessShareLock);

		if (RelationGetNumberOfBlocks(part) > 0)
			unlike(source, made, "It has rows, or has had some.");
		table_close(part, AccessShareLock);
	}
	check_bare(source, made);
	relation_close(rel, AccessShareLock);
}

/*
 * What the source has comes to it, so it has none of that yet; and no counter
 * of its own, which would give numbers that the source's gives, too.
 */
static void
check_bare(Relation source, Oid made)
{
	List	   *found = zdm_query_strings("SELECT 'trigger ' OPERATOR(pg_catalog.||) tgname FROM pg_catalog.pg_trigger"
										  " WHERE tgrelid OPERATOR(pg_catalog.=) $1 AND NOT tgisinternal"
										  " UNION ALL SELECT 'policy ' OPERATOR(pg_catalog.||) polname FROM pg_catalog.pg_policy"
										  " WHERE polrelid OPERATOR(pg_catalog.=) $1"
										  " UNION ALL SELECT 'rule ' OPERATOR(pg_catalog.||) rulename FROM pg_catalog.pg_rewrite"
										  " WHERE ev_class OPERATOR(pg_catalog.=) $1"
										  " UNION ALL SELECT 'a sequence of column ' OPERATOR(pg_catalog.||) a.attname FROM pg_catalog.pg_depend d"
										  " JOIN pg_catalog.pg_class s ON s.oid OPERATOR(pg_catalog.=) d.objid AND s.relkind OPERATOR(pg_catalog.=) 'S'"
										  " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid"
										  " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
										  " AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
										  " AND d.refobjid OPERATOR(pg_catalog.=) $1 AND d.deptype IN ('a', 'i')",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(made))));

	if (found != NIL)
		unlike(source, made, psprintf("It has %s already: all of that is copied from the other table.",
									  (char *) linitial(found)));
	check_privileges(source, made);
	if (!zdm_has_key_index(made, zdm_clone_key(source), false))
		unlike(source, made, psprintf("It has no index that begins with the other one's key (%s).",
									  zdm_names_text(zdm_clone_key(source))));
}

/*
 * Nobody has a right to it who has none to the source: the two are one table
 * for as long as both live.
 */
static void
check_privileges(Relation source, Oid made)
{
	ZdmClone   *clone = zdm_clone_existing(RelationGetRelid(source), made);
	Relation	rel = table_open(made, AccessShareLock);
	List	   *known = zdm_step_texts(zdm_clone_privilege_steps(source, clone));
	ListCell   *lc;

	foreach(lc, zdm_step_texts(zdm_clone_privilege_steps(rel, clone)))
	{
		if (!zdm_is_among(known, lfirst(lc)))
			unlike(source, made, psprintf("It has a privilege that the other one has not: %s", (char *) lfirst(lc)));
	}
	table_close(rel, AccessShareLock);
}

static void
unlike(Relation source, Oid made, const char *detail)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_TABLE_DEFINITION),
			errmsg("table \"%s\" cannot take the rows of table \"%s\"",
				   get_rel_name(made), RelationGetRelationName(source)),
			errdetail("%s", detail),
			errhint("Make it like the other one, empty, or choose a name that is not taken yet."));
}
