/*-------------------------------------------------------------------------
 *
 * replication_notes.c
 *	  What is to be told where rows come or go by logical replication.
 *
 * Whatever the pattern: a publication of all tables has zdm's own ones, which a
 * subscriber without the extension does not know; and a row that is looked up
 * by all of its columns, as one without a key is, is not found any more once
 * one of them has another value than the publisher's.  The server tells nobody
 * of such an UPDATE or DELETE, so it would be lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "catalog/sync_rule.h"
#include "patterns/pattern.h"
#include "schema/depend.h"
#include "schema/relation.h"
#include "util/ident.h"
#include "util/spi.h"

static bool is_found_by_all_columns(Oid relid);

/*
 * The pattern's notes, and those that concern any.
 */
List *
zdm_notes(const ZdmPattern *pattern, ZdmMigration *migration, Relation rel)
{
	List	   *result = pattern->notes(migration, rel);
	ListCell   *lc,
			   *part;

	if (zdm_is_published(zdm_catalog_table("migration")))
		result = lappend(result,
						 zdm_note(true, "zdm's own tables are published, as by FOR ALL TABLES: replication stops at a subscriber without the extension until it has been created there"));
	foreach(lc, zdm_rules_tables(migration->rules))
	{
		foreach(part, zdm_table_and_partitions(lfirst_oid(lc)))
		{
			if (is_found_by_all_columns(lfirst_oid(part)))
				result = lappend(result,
								 zdm_note(true, "table %s has a subscription, and neither a primary key nor a replica identity index: a row that differs from the publisher's in a column that is filled is not found, so that its UPDATE or DELETE is lost; give it a key first, or have the publisher fill the column, too, before it writes",
										  zdm_quote_relation(lfirst_oid(part))));
		}
	}
	return result;
}

static bool
is_found_by_all_columns(Oid relid)
{
	return zdm_query_strings("SELECT '' FROM pg_catalog.pg_subscription_rel s WHERE s.srrelid OPERATOR(pg_catalog.=) $1"
							 " AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid OPERATOR(pg_catalog.=) $1"
							 " AND (i.indisprimary OR i.indisreplident))",
							 ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(relid)))) != NIL;
}
