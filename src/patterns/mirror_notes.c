/*-------------------------------------------------------------------------
 *
 * mirror_notes.c
 *	  What is different while two tables mirror each other.
 *
 * The other table's triggers fire for a mirrored write, with the rights of
 * whoever writes.  One who may write the one table only, and lacks what a
 * trigger of the other one needs, is the only one whose statement would fail:
 * he is named.  A BEFORE trigger that changes or skips rows does so with what
 * comes from the other table, too, where it has been written by then.  And since
 * code of the other table's runs as the writer, the writer has to trust that
 * table's owner, too, as he has to with a table under a view.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/mirror_rule.h"
#include "patterns/pattern.h"
#include "schema/relation.h"
#include "util/ident.h"
#include "util/spi.h"

static List *note_triggers(List *notes, Oid written, Oid mirrored);
static List *note_changes(List *notes, Oid mirrored, const char *written);

/*
 * The notes (ZdmNote *) of a rule whose second table may not be there yet.
 */
List *
zdm_mirror_notes(ZdmMirrorRule *rule)
{
	List	   *result = NIL;

	if (OidIsValid(rule->second))
	{
		if (zdm_table_owner(rule->first) != zdm_table_owner(rule->second))
			result = lappend(result,
							 zdm_note(true, "tables %s and %s have different owners, and whoever writes one of them runs the triggers and functions of the other: he has to trust both owners",
									  zdm_quote_relation(rule->first), zdm_quote_relation(rule->second)));
		result = note_triggers(result, rule->first, rule->second);
		result = note_triggers(result, rule->second, rule->first);
	}
	result = list_concat(result, zdm_mirror_trigger_notes(rule));
	return lappend(result,
				   zdm_note(false, "a write of either table locks the other's row, too, and fires its triggers, as whoever writes: he needs no rights on that table, but those that its triggers need; a write that one of these skips by returning NULL is taken back, but counts"));
}

/*
 * Those about triggers that may change or skip what is mirrored.
 */
List *
zdm_mirror_trigger_notes(ZdmMirrorRule *rule)
{
	List	   *result = note_changes(NIL, rule->first, zdm_mirror_second_name(rule));

	return OidIsValid(rule->second)
		? note_changes(result, rule->second, zdm_quote_relation(rule->first)) : result;
}

/*
 * The application's row triggers that fire before what is mirrored is written.
 */
static List *
note_changes(List *notes, Oid mirrored, const char *written)
{
	List	   *found = NIL;
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(mirrored))
	{
		Relation	rel = table_open(lfirst_oid(lc), AccessShareLock);
		TriggerDesc *triggers = rel->trigdesc;

		for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		{
			Trigger    *trigger = &triggers->triggers[i];
			char	   *name = pstrdup(quote_identifier(trigger->tgname));

			if (TRIGGER_FOR_BEFORE(trigger->tgtype) && TRIGGER_FOR_ROW(trigger->tgtype) &&
				!trigger->tgisinternal && strncmp(trigger->tgname, "~zdm", 4) != 0 &&
				trigger->tgenabled != TRIGGER_DISABLED && trigger->tgenabled != TRIGGER_FIRES_ON_REPLICA &&
				!zdm_is_among(found, name))
				found = lappend(found, name);
		}
		table_close(rel, AccessShareLock);
	}
	if (found == NIL)
		return notes;
	return lappend(notes,
				   zdm_note(true, "triggers of table %s may change or skip what comes from table %s: %s; what they change is in both tables then, what they skip is taken back in that one, and where that cannot be, contract refuses",
							zdm_quote_relation(mirrored), written, zdm_join(found, ", ")));
}

static List *
note_triggers(List *notes, Oid written, Oid mirrored)
{
	char	   *triggers,
			   *roles;

	triggers = linitial(zdm_query_strings("SELECT pg_catalog.string_agg(pg_catalog.quote_ident(t.tgname), ', ' ORDER BY t.tgname) FROM pg_catalog.pg_trigger t"
										  " JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) t.tgfoid"
										  " WHERE t.tgrelid OPERATOR(pg_catalog.=) $1 AND NOT t.tgisinternal AND NOT p.prosecdef"
										  " AND t.tgname OPERATOR(pg_catalog.!~~) '~zdm%'",
										  ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(mirrored)))));
	if (triggers == NULL)
		return notes;
	roles = linitial(zdm_query_strings("WITH writers AS (SELECT c.oid, a.grantee FROM pg_catalog.pg_class c,"
									   " pg_catalog.aclexplode(COALESCE(c.relacl, pg_catalog.acldefault('r', c.relowner))) a"
									   " WHERE c.oid OPERATOR(pg_catalog.=) ANY (ARRAY[$1, $2])"
									   " AND a.privilege_type OPERATOR(pg_catalog.=) ANY (ARRAY['INSERT', 'UPDATE', 'DELETE']))"
									   " SELECT pg_catalog.string_agg(DISTINCT CASE WHEN w.grantee OPERATOR(pg_catalog.=) 0 THEN 'PUBLIC'"
									   " ELSE w.grantee::pg_catalog.regrole::pg_catalog.text END, ', ') FROM writers w"
									   " WHERE w.oid OPERATOR(pg_catalog.=) $1 AND NOT EXISTS (SELECT FROM writers o"
									   " WHERE o.oid OPERATOR(pg_catalog.=) $2"
									   " AND o.grantee OPERATOR(pg_catalog.=) ANY (ARRAY[0::pg_catalog.oid, w.grantee]))",
									   ZDM_ARGS(ZDM_ARG(OIDOID, ObjectIdGetDatum(written)),
												ZDM_ARG(OIDOID, ObjectIdGetDatum(mirrored)))));
	if (roles == NULL)
		return notes;
	return lappend(notes,
				   zdm_note(true, "%s may write table %s, but not table %s, whose triggers fire for it with their rights: see that they have what %s needs, or make the functions SECURITY DEFINER with a search_path of their own",
							roles, zdm_quote_relation(written), zdm_quote_relation(mirrored), triggers));
}
