/*-------------------------------------------------------------------------
 *
 * referrer.c
 *	  The foreign keys that refer to a table, for one of another heap.
 *
 * As long as both tables hold every row, a row that refers to one refers to
 * the other as well, and both hold it.  The second foreign key is made when the
 * second table has its rows, not valid first, and then validated: neither
 * scans anything while it keeps writers out.  It has a name of zdm's until
 * contract, when the two change names.
 *
 * Where a session may defer the one, it can only do so by its name.  The other
 * is deferred from the start, or a statement would fail by it that is right by
 * the first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "storage/lockdefs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "catalog/step.h"
#include "schema/referrer.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* What stands before the names of those that wait, and of those that go. */
#define ASIDE "~zdm_"

/* Foreign keys k, on tables c, that refer to $1: none of a partition's own. */
#define REFERRERS \
	" FROM pg_catalog.pg_constraint k" TABLES_OF_IT \
	" WHERE k.confrelid OPERATOR(pg_catalog.=) $1 AND k.contype OPERATOR(pg_catalog.=) 'f'" \
	" AND k.conparentid OPERATOR(pg_catalog.=) 0"

#define ASIDE_NAME(name) \
	"(('" ASIDE "' OPERATOR(pg_catalog.||) " name ")::pg_catalog.name)"

/* The like o of k that refers to $2, under a name of ours. */
#define LIKE_OF_IT \
	" o.conrelid OPERATOR(pg_catalog.=) k.conrelid AND o.confrelid OPERATOR(pg_catalog.=) $2" \
	" AND o.contype OPERATOR(pg_catalog.=) 'f' AND o.conkey OPERATOR(pg_catalog.=) k.conkey" \
	" AND o.conparentid OPERATOR(pg_catalog.=) 0" \
	" AND o.conname OPERATOR(pg_catalog.=) " ASIDE_NAME("k.conname")

/* Between the two, while they change names. */
#define SPARE_NAME "(('" ASIDE "~' OPERATOR(pg_catalog.||) k.conname)::pg_catalog.name)"

/*
 * What the server has made for partitions of the table that a foreign key
 * refers to, and has named, since 18, by that.
 */
#define PARTS_OF_IT(key) \
	" FROM (WITH RECURSIVE p(oid, name) AS (SELECT p.oid, p.conname FROM pg_catalog.pg_constraint p" \
	" WHERE p.conparentid OPERATOR(pg_catalog.=) " key ".oid" \
	" UNION ALL SELECT b.oid, b.conname FROM p JOIN pg_catalog.pg_constraint b ON b.conparentid OPERATOR(pg_catalog.=) p.oid)" \
	" SELECT p.name, pg_catalog.substr(p.name::pg_catalog.text, pg_catalog.length(" key ".conname::pg_catalog.text) OPERATOR(pg_catalog.+) 1) AS suffix FROM p" \
	" WHERE pg_catalog.starts_with(p.name::pg_catalog.text, " key ".conname OPERATOR(pg_catalog.||) '_')) p"

#define TABLES_OF_IT \
	" JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) k.conrelid" \
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
#define TABLE_OF_IT "pg_catalog.format('%I.%I', n.nspname, c.relname)"

/* A step's table, description and SQL, with something between that is in no name. */
#define ROW(description, sql) \
	"pg_catalog.concat(k.conrelid::pg_catalog.oid, E'\\x01', " description ", E'\\x01', " sql ")"
#define BETWEEN '\x01'

static List *texts_on(Oid relid, Oid other, const char *name, const char *query);
static List *steps_of(LOCKMODE lock, Oid also, List *rows);
static void check_referrer(const ZdmClone *clone, Oid constraint);
static pg_noreturn void refuse_referrer(const ZdmClone *clone, Oid constraint, const char *detail,
										const char *hint);
static List *referred_columns(HeapTuple tuple);

/*
 * The tables (oids) with foreign keys that refer to it.
 */
List *
zdm_referring_tables(Oid relid)
{
	return zdm_oids(texts_on(relid, InvalidOid, NULL, "SELECT DISTINCT k.conrelid::pg_catalog.oid::pg_catalog.text" REFERRERS));
}

/*
 * The tables (oids) that it refers to.
 */
List *
zdm_referred_tables(Oid relid)
{
	return zdm_oids(texts_on(relid, InvalidOid, NULL,
							 "SELECT DISTINCT confrelid::pg_catalog.oid::pg_catalog.text FROM pg_catalog.pg_constraint"
							 " WHERE conrelid OPERATOR(pg_catalog.=) $1 AND contype OPERATOR(pg_catalog.=) 'f'"));
}

/*
 * The query's texts; it gets the two tables and a name of the other.
 */
static List *
texts_on(Oid relid, Oid other, const char *name, const char *query)
{
	return zdm_query_strings(query,
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)),
									  ZDM_ARG(OIDOID, ObjectIdGetDatum(other)),
									  zdm_arg_text(name ? name : "")));
}

static List *
steps_of(LOCKMODE lock, Oid also, List *rows)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, rows)
	{
		char	   *row = lfirst(lc);
		char	   *description = strchr(row, BETWEEN);
		char	   *sql;
		ZdmStep    *step;

		*description++ = '\0';
		sql = strchr(description, BETWEEN);
		*sql++ = '\0';
		step = zdm_step_on((Oid) strtoul(row, NULL, 10), ZDM_STEP_DDL, lock, description, sql);
		step->with = OidIsValid(also) ? list_make1_oid(also) : NIL;
		steps = lappend(steps, step);
	}
	return steps;
}

/*
 * Whether each of them can have its like, and the caller may make it.
 */
void
zdm_check_referrers(Relation source, const ZdmClone *clone)
{
	ListCell   *lc;

	foreach(lc, texts_on(clone->source, InvalidOid, NULL,
						 "SELECT k.oid::pg_catalog.text" REFERRERS " ORDER BY k.conname COLLATE \"C\""))
		check_referrer(clone, (Oid) strtoul(lfirst(lc), NULL, 10));
}

static void
check_referrer(const ZdmClone *clone, Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Form_pg_constraint form;
	List	   *columns;
	ListCell   *lc;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for constraint %u", constraint);
	form = (Form_pg_constraint) GETSTRUCT(tuple);
	columns = referred_columns(tuple);
	if (!object_ownercheck(RelationRelationId, form->conrelid, GetUserId()))
		aclcheck_error(ACLCHECK_NOT_OWNER, get_relkind_objtype(get_rel_relkind(form->conrelid)),
					   get_rel_name(form->conrelid));
	if (get_rel_relkind(form->conrelid) == RELKIND_PARTITIONED_TABLE)
		refuse_referrer(clone, constraint,
						"That table is partitioned: a second foreign key could not be validated without a lock.",
						"Drop the foreign key for the time of the migration.");
	if (!form->convalidated)
		refuse_referrer(clone, constraint, "It is not validated.",
						psprintf("ALTER TABLE %s VALIDATE CONSTRAINT %s;", zdm_quote_relation(form->conrelid),
								 quote_identifier(NameStr(form->conname))));
	if (OidIsValid(clone->made) && !zdm_has_key_index(clone->made, columns, true))
		refuse_referrer(clone, constraint, "The second table has no unique key of the columns that it refers to.",
						"Give it one, or drop the foreign key for the time of the migration.");
	foreach(lc, OidIsValid(clone->made) ? NIL : clone->partition_key)
	{
		bool		found = false;
		ListCell   *column;

		foreach(column, columns)
			found |= strcmp(lfirst(column), lfirst(lc)) == 0;
		if (!found)
			refuse_referrer(clone, constraint,
							psprintf("A unique key of the second table has column \"%s\" in it, by which it is partitioned.",
									 (char *) lfirst(lc)),
							"Partition by the columns that it refers to, or drop the foreign key for the time of the migration.");
	}
	ReleaseSysCache(tuple);
}

static void
refuse_referrer(const ZdmClone *clone, Oid constraint, const char *detail, const char *hint)
{
	ereport(ERROR,
			errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			errmsg("foreign key \"%s\" refers to table \"%s\" and cannot refer to the second one",
				   get_constraint_name(constraint), get_rel_name(clone->source)),
			errdetail("%s", detail),
			errhint("%s", hint));
}

static List *
referred_columns(HeapTuple tuple)
{
	Oid			relid = ((Form_pg_constraint) GETSTRUCT(tuple))->confrelid;
	AttrNumber	keys[INDEX_MAX_KEYS],
				referred[INDEX_MAX_KEYS],
				set[INDEX_MAX_KEYS];
	int			count,
				set_count;
	List	   *result = NIL;

	DeconstructFkConstraintRow(tuple, &count, keys, referred, NULL, NULL, NULL, &set_count, set);
	for (int i = 0; i < count; i++)
		result = lappend(result, get_attname(relid, referred[i], false));
	return result;
}

/* The one description of the two statements that it takes. */
#define WHAT_FOR \
	"pg_catalog.format('have foreign key %I of table %s refer to the second table, too', k.conname, " TABLE_OF_IT ")"

/* The columns of k that an array of it names, as a list. */
#define COLUMNS(table, numbers) \
	"(SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY u.place)" \
	" FROM pg_catalog.unnest(" numbers ") WITH ORDINALITY u(number, place)" \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) " table \
	" AND a.attnum OPERATOR(pg_catalog.=) u.number)"

#define ACTION(type) \
	"CASE " type " WHEN 'c' THEN 'CASCADE' WHEN 'r' THEN 'RESTRICT' WHEN 'n' THEN 'SET NULL'" \
	" WHEN 'd' THEN 'SET DEFAULT' ELSE 'NO ACTION' END"

/*
 * The steps, each for a transaction of its own, that add the likes that are
 * not there yet, not valid.  made: InvalidOid as long as it is not made.
 */
List *
zdm_referrer_add_steps(Oid source, Oid made, const char *name)
{
	static const char *const sql =
		"SELECT " ROW(WHAT_FOR,
					  "pg_catalog.format('ALTER TABLE %s ADD CONSTRAINT %I FOREIGN KEY (%s) REFERENCES %s (%s)%s ON DELETE %s%s ON UPDATE %s%s NOT VALID',"
					  TABLE_OF_IT ", " ASIDE_NAME("k.conname") ", " COLUMNS("k.conrelid", "k.conkey") ", $3, "
					  COLUMNS("k.confrelid", "k.confkey") ","
					  " CASE k.confmatchtype WHEN 'f' THEN ' MATCH FULL' END, " ACTION("k.confdeltype") ","
					  " ' (' OPERATOR(pg_catalog.||) " COLUMNS("k.conrelid", "k.confdelsetcols") " OPERATOR(pg_catalog.||) ')', "
					  ACTION("k.confupdtype") ","
					  " CASE WHEN k.condeferrable THEN ' DEFERRABLE INITIALLY DEFERRED' END)")
		REFERRERS " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint o WHERE" LIKE_OF_IT ")"
		" ORDER BY k.conrelid, k.conname COLLATE \"C\"";

	return steps_of(ShareRowExclusiveLock, made, texts_on(source, made, name, sql));
}

/*
 * The steps that validate those that are there, and not valid.
 */
List *
zdm_referrer_validate_steps(Oid source, Oid made)
{
	static const char *const sql =
		"SELECT " ROW(WHAT_FOR,
					  "pg_catalog.format('ALTER TABLE %s VALIDATE CONSTRAINT %I', " TABLE_OF_IT ", o.conname)")
		" FROM pg_catalog.pg_constraint k" TABLES_OF_IT
		" JOIN pg_catalog.pg_constraint o ON" LIKE_OF_IT
		" WHERE k.confrelid OPERATOR(pg_catalog.=) $1 AND NOT o.convalidated"
		" ORDER BY k.conrelid, k.conname COLLATE \"C\"";

	return steps_of(ShareUpdateExclusiveLock, InvalidOid, texts_on(source, made, NULL, sql));
}

/*
 * The steps that give the foreign keys to one table the names that those to
 * the other, which led up to now, have.  Those are kept, under zdm's names, or
 * dropped.
 */
List *
zdm_referrer_switch_steps(Oid from, Oid to, bool keep)
{
	static const char *const sql =
		"SELECT " ROW("s.description", "pg_catalog.format('ALTER TABLE %s ', " TABLE_OF_IT ") OPERATOR(pg_catalog.||) s.command")
		" FROM pg_catalog.pg_constraint k" TABLES_OF_IT
		" JOIN pg_catalog.pg_constraint o ON" LIKE_OF_IT
		" CROSS JOIN LATERAL (SELECT $3 OPERATOR(pg_catalog.=) 'keep', k.condeferrable AND NOT k.condeferred) f(keep, immediate)"
		" CROSS JOIN LATERAL (VALUES"
		" (1, NOT f.keep, 'drop a foreign key', pg_catalog.format('DROP CONSTRAINT %I', k.conname)),"
		" (1, f.keep, 'put a foreign key aside', pg_catalog.format('RENAME CONSTRAINT %I TO %I', k.conname, " SPARE_NAME ")),"
		" (2, true, 'give its like the name', pg_catalog.format('RENAME CONSTRAINT %I TO %I', o.conname, k.conname)),"
		" (3, f.keep, 'keep it by the other name', pg_catalog.format('RENAME CONSTRAINT %I TO %I', " SPARE_NAME ", o.conname)),"
		" (4, f.immediate, 'defer it as the other one was', pg_catalog.format('ALTER CONSTRAINT %I DEFERRABLE INITIALLY IMMEDIATE', k.conname)),"
		" (5, f.keep AND f.immediate, 'have the other one not fail before it',"
		" pg_catalog.format('ALTER CONSTRAINT %I DEFERRABLE INITIALLY DEFERRED', o.conname))"
		" UNION ALL SELECT 1, f.keep, 'put what a partition has of it aside',"
		" pg_catalog.format('RENAME CONSTRAINT %I TO %I', p.name, (" SPARE_NAME " OPERATOR(pg_catalog.||) p.suffix)::pg_catalog.name)"
		PARTS_OF_IT("k")
		" UNION ALL SELECT 2, true, 'give what a partition has of its like the name',"
		" pg_catalog.format('RENAME CONSTRAINT %I TO %I', p.name, (k.conname OPERATOR(pg_catalog.||) p.suffix)::pg_catalog.name)"
		PARTS_OF_IT("o") " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_constraint x WHERE x.conrelid OPERATOR(pg_catalog.=) k.conrelid"
		" AND x.conname OPERATOR(pg_catalog.=) (k.conname OPERATOR(pg_catalog.||) p.suffix)::pg_catalog.name"
		" AND x.conparentid OPERATOR(pg_catalog.=) 0)"
		" UNION ALL SELECT 3, f.keep, 'keep it by the other name',"
		" pg_catalog.format('RENAME CONSTRAINT %I TO %I', (" SPARE_NAME " OPERATOR(pg_catalog.||) p.suffix)::pg_catalog.name,"
		" (o.conname OPERATOR(pg_catalog.||) p.suffix)::pg_catalog.name)"
		PARTS_OF_IT("k") ")"
		" s(number, needed, description, command)"
		" WHERE k.confrelid OPERATOR(pg_catalog.=) $1 AND s.needed"
		" ORDER BY k.conrelid, k.conname COLLATE \"C\", s.number";

	return steps_of(AccessExclusiveLock, InvalidOid, texts_on(from, to, keep ? "keep" : "", sql));
}

/*
 * The steps that drop the foreign keys to a table that have a like, to the
 * other one, that stays.
 */
List *
zdm_referrer_drop_steps(Oid relid, Oid other)
{
	static const char *const sql =
		"SELECT " ROW("'drop a foreign key'",
					  "pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', " TABLE_OF_IT ", o.conname)")
		" FROM pg_catalog.pg_constraint k" TABLES_OF_IT
		" JOIN pg_catalog.pg_constraint o ON" LIKE_OF_IT
		" WHERE k.confrelid OPERATOR(pg_catalog.=) $1"
		" ORDER BY k.conrelid, k.conname COLLATE \"C\"";

	return steps_of(AccessExclusiveLock, InvalidOid, texts_on(other, relid, NULL, sql));
}

/*
 * What those are in a list of what depends on a table.
 */
List *
zdm_referrer_descriptions(Oid relid, Oid other)
{
	static const char *const sql =
		"SELECT pg_catalog.pg_describe_object('pg_catalog.pg_constraint'::pg_catalog.regclass, x.oid, 0)"
		" FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_constraint o ON" LIKE_OF_IT
		" CROSS JOIN LATERAL (VALUES (k.oid), (o.oid)) x(oid)"
		" WHERE k.confrelid OPERATOR(pg_catalog.=) $1";

	return list_concat(texts_on(relid, other, NULL, sql), texts_on(other, relid, NULL, sql));
}
