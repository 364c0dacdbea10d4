/*-------------------------------------------------------------------------
 *
 * add_column.c
 *	  Add a column.
 *
 * expand	the column, which the old version need not know: its INSERTs leave
 *			it out, and get the default.  A default that is always the same
 *			also goes for the rows that exist, without being stored in them.  A
 *			volatile one is set afterwards, for new rows alone: with the column
 *			it would make the server write the table anew.
 * migrate	nothing, where the default has seen to it; else each row that exists
 *			gets a default of its own, or what fill gives for it.  A mandatory
 *			column is then proved to hold no NULL (schema/not_null.c).
 * contract	a mandatory column becomes NOT NULL, which scans nothing; a computed
 *			one becomes a generated column, where the server can do so without
 *			writing the table
 * finish	the rule that filled goes
 * rollback	the column goes, with what it holds
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/tableam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/comment.h"
#include "optimizer/optimizer.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/sync_rule.h"
#include "patterns/pattern.h"
#include "schema/column.h"
#include "schema/common_value.h"
#include "schema/depend.h"
#include "schema/new_column.h"
#include "schema/not_null.h"
#include "schema/privilege.h"
#include "schema/relation.h"
#include "schema/table.h"
#include "schema/twin.h"
#include "sync/expression.h"
#include "sync/install.h"
#include "util/compat.h"
#include "util/ident.h"
#include "util/spi.h"

/* The call, resolved. */
typedef struct NewColumn
{
	FormData_pg_attribute attr;
	char	   *type;			/* as SQL */
	char	   *initial;		/* the default, or NULL */
	bool		initial_volatile;
	char	   *fill;			/* what rows that exist get, or NULL */
	char	   *generated;		/* or NULL */
	bool		not_null;
} NewColumn;

static List *comment_steps(Oid relid, const char *name);
static char *type_now(ZdmMigration *migration);

static char *
column(ZdmMigration *migration)
{
	return linitial(migration->new_columns);
}

static bool
is_mandatory(ZdmMigration *migration)
{
	return zdm_argument(migration, "not_null") != NULL;
}

static ZdmSyncRule *
the_rule(ZdmMigration *migration)
{
	return migration->rules ? linitial(migration->rules) : NULL;
}

/*
 * Whether the column is made mandatory by migrate and contract; one with a
 * constant default is NOT NULL from the first moment.
 */
static bool
needs_proof(ZdmMigration *migration)
{
	return is_mandatory(migration) && migration->rules != NIL;
}

static void
wrong_arguments(const char *message, const char *hint)
{
	ereport(ERROR,
			errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("%s", message), errhint("%s", hint));
}

/*
 * Which arguments go together.
 */
static void
check_arguments(ZdmMigration *migration)
{
	bool		initial = zdm_argument(migration, "default_value") != NULL;
	bool		fill = zdm_argument(migration, "fill") != NULL;

	if (zdm_argument(migration, "generated") != NULL && (initial || fill || is_mandatory(migration)))
		wrong_arguments("a generated column has no default_value, not_null or fill",
						"Leave them out: its expression gives every value.");
	if (fill && !is_mandatory(migration))
		wrong_arguments("fill is for a mandatory column",
						"Give not_null => true, or default_value instead of fill.");
	if (is_mandatory(migration) && !initial && !fill)
		wrong_arguments("a mandatory column needs a value for the rows that exist, and for those of a version that does not know it",
						"Give fill, an expression over the row's columns, or default_value.");
}

/*
 * The type, and whether the server can add a column of it.
 */
static void
resolve_type(NewColumn *new, const char *text)
{
	ZdmType		type;

	zdm_new_column_type(NameStr(new->attr.attname), text, &type);
	zdm_type_check(&type);
	new->attr.atttypid = type.oid;
	new->attr.atttypmod = type.typmod;
	new->type = zdm_type_text(&type);
}

/*
 * The default: a text for SQL, and whether it is a different one each time.
 */
static void
resolve_default(NewColumn *new, Relation rel, const char *text)
{
	Node	   *expr = zdm_expression_parse_for(rel, text, "default_value", &new->attr);

	if (pull_var_clause(expr, 0) != NIL)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				errmsg("default_value refers to a column"),
				errhint("A default knows nothing of its row; fill does."));
	zdm_check_common_value(rel, &new->attr, expr, "default_value", new->not_null && new->fill == NULL);
	new->initial_volatile = contain_volatile_functions(expr);
	new->initial = zdm_expression_check_fill(rel, text, "default_value", &new->attr);
}

static void
resolve_fill(NewColumn *new, Relation rel, const char *text)
{
	zdm_check_common_value(rel, &new->attr, zdm_expression_parse_for(rel, text, "fill", &new->attr),
						   "\"fill\"", true);
	new->fill = zdm_expression_check_fill(rel, text, "fill", &new->attr);
}

/*
 * The rows that exist would get it with the column, each one of its own.
 */
static void
check_domain_default(NewColumn *new)
{
	if (new->initial == NULL && new->fill == NULL && new->generated == NULL &&
		get_typtype(new->attr.atttypid) == TYPTYPE_DOMAIN &&
		contain_volatile_functions(get_typdefault(new->attr.atttypid)))
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("type %s is a domain with a volatile default", format_type_be(new->attr.atttypid)),
				errdetail("To add a column of such a type, the server writes the table anew under a lock."),
				errhint("Give the default as default_value: the rows that exist get it in the background."));
}

static void
resolve_generated(NewColumn *new, Relation rel, const char *text)
{
	Node	   *expr = zdm_expression_parse_for(rel, text, "generated", &new->attr);

	if (contain_mutable_functions(expr))
		ereport(ERROR,
				errcode(ERRCODE_INVALID_OBJECT_DEFINITION),
				errmsg("expression \"generated\" is not immutable"),
				errhint("A generated column can only be made of functions that always give the same for the same row."));
	new->generated = zdm_expression_check_fill(rel, text, "generated", &new->attr);
}

static NewColumn *
resolve(ZdmMigration *migration, Relation rel)
{
	NewColumn  *new = palloc0_object(NewColumn);
	const char *initial = zdm_argument(migration, "default_value");
	const char *fill = zdm_argument(migration, "fill");
	const char *generated = zdm_argument(migration, "generated");

	namestrcpy(&new->attr.attname, column(migration));
	resolve_type(new, zdm_argument(migration, "type"));
	new->not_null = is_mandatory(migration);
	if (fill != NULL)
		resolve_fill(new, rel, fill);
	if (initial != NULL)
		resolve_default(new, rel, initial);
	if (fill == NULL && new->initial_volatile)
		new->fill = new->initial;
	if (generated != NULL)
		resolve_generated(new, rel, generated);
	check_domain_default(new);
	return new;
}

/*
 * The rule, where one is needed: not where each row gets the same default.
 */
static void
make_rule(ZdmMigration *migration, NewColumn *new)
{
	ZdmSyncRule *rule;

	migration->rules = NIL;
	if (new->fill == NULL && new->generated == NULL)
		return;
	rule = palloc0_object(ZdmSyncRule);
	rule->kind = new->generated != NULL ? ZDM_RULE_COMPUTE
		: new->not_null ? ZDM_RULE_FILL : ZDM_RULE_FILL_OLDER;
	rule->relation = migration->relation;
	rule->new_columns = migration->new_columns;
	rule->up = list_make1(new->generated != NULL ? new->generated : new->fill);
	migration->rules = list_make1(rule);
}

/*
 * Which rows are older than the column only the heap tells.
 */
static void
check_heap(Relation rel)
{
	ListCell   *lc;

	foreach(lc, zdm_storage_relations(RelationGetRelid(rel)))
	{
		Relation	part = relation_open(lfirst_oid(lc), AccessShareLock);

		if (part->rd_tableam != GetHeapamTableAmRoutine())
			ereport(ERROR,
					errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("table \"%s\" is not a heap", RelationGetRelationName(part)),
					errdetail("Which of its rows are to get a default of their own cannot be told."),
					errhint("Leave out default_value, and fill the column yourself."));
		relation_close(part, AccessShareLock);
	}
}

static void
check(ZdmMigration *migration, Relation rel)
{
	NewColumn  *new;

	check_arguments(migration);
	zdm_check_shape(rel);
	zdm_check_new_column(rel, column(migration));
	zdm_check_free_columns(migration->relation, migration->new_columns);
	new = resolve(migration, rel);
	make_rule(migration, new);
	if (migration->rules != NIL)
	{
		zdm_check_table(rel);
		zdm_check_fill(migration);
	}
	if (new->initial_volatile)
		check_heap(rel);
}

static List *
expand(ZdmMigration *migration, Relation rel)
{
	NewColumn  *new = resolve(migration, rel);
	char	   *table = zdm_quote_relation(migration->relation);
	const char *name = quote_identifier(column(migration));
	bool		at_once = new->initial != NULL && new->fill == NULL;
	bool		later = !at_once && migration->rules != NIL;
	List	   *steps;

	steps = list_make1(zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "add the column",
								psprintf("ALTER TABLE %s ADD COLUMN %s %s%s%s%s%s", table, name, new->type,
										 at_once ? " DEFAULT " : "", at_once ? new->initial : "",
										 at_once && new->not_null ? " NOT NULL" : "",
										 later ? zdm_new_column_null(new->attr.atttypid) : "")));
	if (later && new->initial == NULL && new->generated == NULL)
		steps = list_concat(steps, zdm_new_column_default_steps(migration->relation, column(migration),
																new->attr.atttypid));
	if (new->initial != NULL && !at_once)
		steps = lappend(steps, zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "give new rows the default",
										psprintf("ALTER TABLE %s ALTER COLUMN %s SET DEFAULT %s",
												 table, name, new->initial)));
	if (migration->rules != NIL)
		steps = list_concat(steps, zdm_sync_install_steps(migration));
	return steps;
}

static List *
migrate(ZdmMigration *migration)
{
	ZdmSyncRule *rule = the_rule(migration);
	char	   *table = zdm_quote_relation(migration->relation);
	const char *name = quote_identifier(column(migration));
	List	   *steps;

	if (rule == NULL)
		return NIL;
	steps = list_make2(zdm_step(ZDM_STEP_BACKFILL, RowExclusiveLock, "fill the rows that exist",
								psprintf("UPDATE %s SET %s = %s WHERE ctid in a range of blocks AND %s IS NULL",
										 table, name, (char *) linitial(rule->up), name)),
					   zdm_step(ZDM_STEP_VERIFY, AccessShareLock, "look at the column in every row", NULL));
	if (needs_proof(migration))
		steps = list_concat(steps, zdm_not_null_proof(migration, column(migration)));
	return steps;
}

static List *
statements(ZdmMigration *migration)
{
	return needs_proof(migration) ? zdm_not_null_proof_left(migration, column(migration)) : NIL;
}

/*
 * A computed column goes, and comes back as a generated one with its
 * privileges and its comment: only of the kind that is not stored is that a
 * change of the catalog.
 */
static List *
generate(ZdmMigration *migration, ZdmSyncRule *rule)
{
	const char *name;
	List	   *steps;
	ListCell   *lc;

	if (!ZDM_HAVE_VIRTUAL_COLUMNS)
		return NIL;
	name = quote_identifier(column(migration));
	steps = lappend(zdm_sync_remove_steps(migration),
					zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "make it a generated column",
							 psprintf("ALTER TABLE %s DROP COLUMN %s, ADD COLUMN %s %s GENERATED ALWAYS AS (%s) VIRTUAL",
									  zdm_quote_relation(migration->relation), name, name,
									  type_now(migration),
									  (char *) linitial(rule->up))));
	foreach(lc, zdm_table_and_partitions(migration->relation))
	{
		steps = list_concat(steps, zdm_grant_steps(lfirst_oid(lc), migration->new_columns,
												   column(migration)));
		steps = list_concat(steps, comment_steps(lfirst_oid(lc), column(migration)));
	}
	return steps;
}

static List *
comment_steps(Oid relid, const char *name)
{
	AttrNumber	attnum = get_attnum(relid, name);
	char	   *comment = attnum > 0 ? GetComment(relid, RelationRelationId, attnum) : NULL;

	if (comment == NULL)
		return NIL;
	return list_make1(zdm_step_on(relid, ZDM_STEP_DDL, ShareUpdateExclusiveLock, "give it the comment",
								  psprintf("COMMENT ON COLUMN %s.%s IS %s", zdm_quote_relation(relid),
										   quote_identifier(name), quote_literal_cstr(comment))));
}

/*
 * The column's type as SQL; before there is one, as the call has it.
 */
static char *
type_now(ZdmMigration *migration)
{
	AttrNumber	attnum = get_attnum(migration->relation, column(migration));
	ZdmIdentity saved;
	Oid			type,
				collation;
	int32		typmod;
	char	   *result;

	if (attnum == InvalidAttrNumber)
		return pstrdup(zdm_argument(migration, "type"));
	get_atttypetypmodcoll(migration->relation, attnum, &type, &typmod, &collation);
	zdm_pin_path(&saved);
	result = format_type_with_typemod(type, typmod);
	zdm_unbecome(&saved);
	return result;
}

static List *
take_back(ZdmMigration *migration)
{
	return zdm_not_null_give_up_steps(migration, column(migration));
}

static List *
contract(ZdmMigration *migration, bool quarantine)
{
	ZdmSyncRule *rule = the_rule(migration);
	List	   *steps = NIL;

	if (rule == NULL)
		return NIL;
	if (rule->kind == ZDM_RULE_COMPUTE)
		return generate(migration, rule);
	if (needs_proof(migration))
		steps = zdm_not_null_set_steps(migration, column(migration), NULL);
	return quarantine ? steps : list_concat(steps, zdm_sync_remove_steps(migration));
}

static List *
finish(ZdmMigration *migration)
{
	return migration->rules ? zdm_sync_remove_steps(migration) : NIL;
}

static List *
rollback(ZdmMigration *migration)
{
	return lappend(finish(migration),
				   zdm_step(ZDM_STEP_DDL, AccessExclusiveLock, "drop the column",
							psprintf("ALTER TABLE %s DROP COLUMN %s",
									 zdm_quote_relation(migration->relation),
									 quote_identifier(column(migration)))));
}

/*
 * What others have attached to the column, but for what proves that it holds
 * no NULL.
 */
static List *
attached(ZdmMigration *migration, ZdmPhase phase)
{
	bool		computed = the_rule(migration) && the_rule(migration)->kind == ZDM_RULE_COMPUTE;
	List	   *result;
	ListCell   *lc;

	if (phase == ZDM_CONTRACT && computed && !ZDM_HAVE_VIRTUAL_COLUMNS)
		ereport(ERROR,
				errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("column \"%s\" of table \"%s\" cannot become a generated column without writing the table anew",
					   column(migration), zdm_relation_label(migration->relation)),
				errdetail("PostgreSQL can do so since version 18, by columns that are computed when they are read. Until then the column has the right value in every row as long as the migration is in flight."),
				errhint("Leave it so, or SELECT zdm.rollback(%s);", quote_literal_cstr(migration->name)));
	if (phase != ZDM_ROLLBACK && !(phase == ZDM_CONTRACT && computed))
		return NIL;
	result = zdm_column_dependents(migration->relation, column(migration), migration->id);
	foreach(lc, result)
	{
		if (zdm_not_null_is_check(migration, column(migration), lfirst(lc)))
			result = foreach_delete_current(result, lc);
	}
	return result;
}

static void
guard(ZdmMigration *migration, Relation rel)
{
	zdm_guard_column(migration, column(migration));
	if (needs_proof(migration))
		zdm_guard_not_null(migration, column(migration));
}

/*
 * What is particular to the kind of the rule.
 */
static ZdmNote *
rule_note(ZdmSyncRule *rule, const char *name)
{
	switch (rule->kind)
	{
		case ZDM_RULE_FILL_OLDER:
		case ZDM_RULE_FILL_UNNAMED:
			return zdm_note(false, "rows that exist get a default each, but for those that a statement has given a NULL in %s by then; where the table is written anew before the state is ready (VACUUM FULL, CLUSTER, a restored dump), such a NULL is no longer told from a row without a value, and gets a default, too",
							name);
		case ZDM_RULE_FILL:
			return zdm_note(false, "a NULL that is written to %s is stored as the value of fill, also where a statement names the column; where fill gives NULL, the statement is refused from the verification on",
							name);
		default:
			return zdm_note(!ZDM_HAVE_VIRTUAL_COLUMNS,
							ZDM_HAVE_VIRTUAL_COLUMNS
							? "a statement that gives %s another value than its expression's is refused; after contract the column is computed when it is read, and can have no index"
							: "a statement that gives %s another value than its expression's is refused; this version of PostgreSQL cannot make it a generated column without writing the table anew, so contract will be refused, and the column has its value as long as the migration is in flight",
							name);
	}
}

static List *
notes(ZdmMigration *migration, Relation rel)
{
	const char *name = quote_identifier(column(migration));
	List	   *result = NIL;

	if (zdm_is_published(migration->relation))
		result = lappend(result,
						 zdm_note(true, "the table is published: add column %s to it on every subscriber first, or replication stops there",
								  name));
	if (migration->rules != NIL)
		result = lappend(result, rule_note(the_rule(migration), name));
	result = list_concat(result, zdm_notes_of_stars(migration));
	if (migration->rules == NIL)
		return result;
	result = lappend(result, zdm_note_conflicts());
	return lappend(result,
				   zdm_note(false, "the new version may start once the state is ready: before, rows that were not backfilled read NULL in %s",
							name));
}

const ZdmPattern zdm_add_column_pattern = {
	.name = "add_column",
	.check = check,
	.expand = expand,
	.migrate = migrate,
	.statements = statements,
	.verify_first = true,
	.take_back = take_back,
	.contract = contract,
	.finish = finish,
	.rollback = rollback,
	.attached = attached,
	.guard = guard,
	.notes = notes,
};
