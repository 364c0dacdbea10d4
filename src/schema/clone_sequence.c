/*-------------------------------------------------------------------------
 *
 * clone_sequence.c
 *	  One counter for two tables, and who has it in the end.
 *
 * As long as both tables live, each must draw its numbers from the one
 * sequence: two of them would sooner or later give one number to two rows.
 * So a default of the clone's names the source's sequence, also where that
 * belongs to an identity column.  That one asks nobody for a privilege on its
 * sequence, and so must its like: whoever may insert may draw (zdm_clone_next).
 *
 * With the source's end a sequence that is
 * owned goes to the clone's column as it is.  That of an identity column cannot
 * change hands: the clone's column gets one of its own, which goes on where
 * the other has come to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/dependency.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lockdefs.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/mirror_rule.h"
#include "catalog/step.h"
#include "schema/clone.h"
#include "util/ident.h"
#include "util/spi.h"

/* The sequences of a table ($1): column, sequence, and whether by identity. */
#define SEQUENCES \
	" FROM pg_catalog.pg_depend d" \
	" JOIN pg_catalog.pg_class s ON s.oid OPERATOR(pg_catalog.=) d.objid AND s.relkind OPERATOR(pg_catalog.=) 'S'" \
	" JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) s.relnamespace" \
	" JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) d.refobjid AND a.attnum OPERATOR(pg_catalog.=) d.refobjsubid" \
	" JOIN pg_catalog.pg_sequence q ON q.seqrelid OPERATOR(pg_catalog.=) s.oid" \
	" CROSS JOIN LATERAL (SELECT pg_catalog.pg_sequence_last_value(s.oid) AS last) v" \
	" LEFT JOIN (SELECT tn.nspname FROM pg_catalog.pg_class tc JOIN pg_catalog.pg_namespace tn" \
	" ON tn.oid OPERATOR(pg_catalog.=) tc.relnamespace WHERE tc.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($2)) t ON true" \
	" WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass" \
	" AND d.refobjid OPERATOR(pg_catalog.=) $1 AND d.deptype OPERATOR(pg_catalog.=) "

static bool may_insert(Oid relid);
static List *steps_of(const char *description, const char *query, Oid source,
					  const char *table, Oid made);

/*
 * The clone's identity columns are not identity columns yet.
 */
List *
zdm_clone_default_steps(Relation source, const ZdmClone *clone)
{
	return steps_of("let it draw from the one sequence",
					"SELECT pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT zdm._next_identity(%L::pg_catalog.regclass)',"
					" $2, a.attname, pg_catalog.format('%I.%I', n.nspname, s.relname))"
					SEQUENCES "'i' ORDER BY a.attnum",
					RelationGetRelid(source), zdm_clone_name(clone), InvalidOid);
}

/*
 * The steps, while both tables are locked against everybody and before the
 * source goes, that leave the clone, of that name, its sequences.
 */
List *
zdm_clone_hand_over_steps(Oid source, Oid made, const char *table)
{
	List	   *steps;

	steps = steps_of("hand over a sequence",
					 "SELECT pg_catalog.unnest(CASE WHEN n.nspname OPERATOR(pg_catalog.=) coalesce(t.nspname, n.nspname) THEN ARRAY["
					 "pg_catalog.format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', n.nspname, s.relname, $2, a.attname)]"
					 " ELSE ARRAY[pg_catalog.format('ALTER SEQUENCE %I.%I OWNED BY NONE', n.nspname, s.relname),"
					 " pg_catalog.format('ALTER SEQUENCE %I.%I SET SCHEMA %I', n.nspname, s.relname, coalesce(t.nspname, n.nspname)),"
					 " pg_catalog.format('ALTER SEQUENCE %I.%I OWNED BY %s.%I', coalesce(t.nspname, n.nspname), s.relname, $2, a.attname)] END)"
					 SEQUENCES "'a' ORDER BY a.attnum", source, table, made);
	steps = list_concat(steps,
						steps_of("draw from the other sequence no more",
								 "SELECT pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', $2, a.attname)"
								 SEQUENCES "'i' ORDER BY a.attnum", source, table, made));
	steps = list_concat(steps,
						steps_of("make it an identity column, which goes on from there",
								 "SELECT pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I ADD GENERATED %s AS IDENTITY"
								 " (START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s CACHE %s %s)',"
								 " $2, a.attname, CASE a.attidentity WHEN 'a' THEN 'ALWAYS' ELSE 'BY DEFAULT' END,"
								 " CASE WHEN v.last IS NULL THEN q.seqstart"
								 " WHEN q.seqincrement OPERATOR(pg_catalog.>) 0 AND v.last OPERATOR(pg_catalog.>) (q.seqmax OPERATOR(pg_catalog.-) q.seqincrement) THEN q.seqmax"
								 " WHEN q.seqincrement OPERATOR(pg_catalog.<) 0 AND v.last OPERATOR(pg_catalog.<) (q.seqmin OPERATOR(pg_catalog.-) q.seqincrement) THEN q.seqmin"
								 " ELSE v.last OPERATOR(pg_catalog.+) q.seqincrement END,"
								 " q.seqincrement, q.seqmin, q.seqmax, q.seqcache, CASE WHEN q.seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END)"
								 SEQUENCES "'i' ORDER BY a.attnum", source, table, made));
	return list_concat(steps,
					   steps_of("keep the start of its sequence",
								"SELECT pg_catalog.format('ALTER TABLE %s ALTER COLUMN %I SET START WITH %s', $2, a.attname, q.seqstart)"
								SEQUENCES "'i' ORDER BY a.attnum", source, table, made));
}

/*
 * The next number for a row of either table.
 */
int64
zdm_clone_next(Oid sequence)
{
	Oid			table;
	int32		column;
	ListCell   *lc;

	if (sequenceIsOwned(sequence, DEPENDENCY_INTERNAL, &table, &column))
	{
		foreach(lc, zdm_mirror_rules_on(list_make1_oid(table)))
		{
			ZdmMirrorRule *rule = lfirst(lc);

			if (rule->first == table && rule->optional == 0 &&
				(may_insert(table) || may_insert(rule->second)))
				return nextval_internal(sequence, false);
		}
	}
	aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SEQUENCE, get_rel_name(sequence));
	return 0;
}

static bool
may_insert(Oid relid)
{
	return pg_class_aclcheck(relid, GetUserId(), ACL_INSERT) == ACLCHECK_OK ||
		pg_attribute_aclcheck_all(relid, GetUserId(), ACL_INSERT, ACLMASK_ANY) == ACLCHECK_OK;
}

static List *
steps_of(const char *description, const char *query, Oid source,
		 const char *table, Oid made)
{
	List	   *steps = NIL;
	ListCell   *lc;

	foreach(lc, zdm_query_strings(query,
								  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(source)),
										   zdm_arg_text(table))))
		steps = lappend(steps, zdm_step_on(made, ZDM_STEP_DDL,
										   OidIsValid(made) ? AccessExclusiveLock : NoLock,
										   description, lfirst(lc)));
	return steps;
}
