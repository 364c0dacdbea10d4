/*-------------------------------------------------------------------------
 *
 * utility.c
 *	  COPY, TRUNCATE, ANALYZE and VACUUM by the name of a compatibility view.
 *
 * PostgreSQL carries SELECT, INSERT, UPDATE, DELETE and LOCK TABLE through a
 * view, and refuses or skips these.  An application must not notice that the
 * name it uses is a view's for a while, so the hook puts the table into the
 * statement, in a copy of it, and lets the server go on from there: the
 * table's own privilege checks by the current user, its row security, its
 * partitions, its errors.
 *
 * What the name means must not change between this and the server's own look
 * at the statement.  A migration that swaps view and table locks the view
 * first, always.  So the view is locked here, up to the end of the
 * transaction, and its name resolved again under that lock.  Against somebody
 * else's renaming of the table the name is pinned by a lock on the table, in
 * the weakest mode.  TRUNCATE does without: two of them that hold a weak lock
 * and want the strongest would be a deadlock, and to take that here would
 * change the order in which a statement locks its tables.  It looks afterwards
 * whether it locked the right one.
 *
 * The columns of a list are the view's, and may have another name in the
 * table; the view's own query says which.  COPY without a list means the
 * table's columns.
 *
 * For any other utility statement, and where no name is a view's, this costs
 * a look at the name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_namespace.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "catalog/compatibility_view.h"
#include "hooks/utility.h"
#include "util/compat.h"
#include "util/ident.h"

/* A view, locked, and what stands behind it. */
typedef struct Behind
{
	char	   *view;			/* its bare name, as the statement has it */
	Oid			table;
	List	   *columns;		/* of TargetEntry *: the view's */
} Behind;

static ProcessUtility_hook_type previous_utility = NULL;

static void process_utility(PlannedStmt *pstmt, const char *query,
							bool read_only, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *env,
							DestReceiver *dest, QueryCompletion *completion);
static bool names_view(Node *stmt);
static void redirect_copy(CopyStmt *copy);
static bool redirect_where(Node *node, void *context);
static void copy_as_query(CopyStmt *copy, const Behind *behind);
static List *redirect_truncate(TruncateStmt *truncate);
static void check_truncated(List *tables);
static void redirect_vacuum(VacuumStmt *vacuum);
static bool skips_locked(VacuumStmt *vacuum);
static bool look_behind(RangeVar *name, bool wait, Behind *behind);
static bool lock_view(RangeVar *name, bool wait, Oid *view, Oid *table);
static bool is_view(RangeVar *name);
static Oid	find_relation(const RangeVar *name);
static void pin_table(Oid table, bool wait);
static void put_table(RangeVar *name, const Behind *behind);
static void use_table_columns(List *names, const Behind *behind);
static char *table_column(const Behind *behind, const char *name);

void
zdm_utility_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest,
				QueryCompletion *completion)
{
	List	   *truncated = NIL;

	if (names_view(pstmt->utilityStmt))
	{
		PlannedStmt *ours = palloc_object(PlannedStmt);

		/* The tree may be a cached plan's. */
		memcpy(ours, pstmt, sizeof(PlannedStmt));
		ours->utilityStmt = zdm_copy_node(pstmt->utilityStmt);
		pstmt = ours;
		read_only = false;
		switch (nodeTag(pstmt->utilityStmt))
		{
			case T_CopyStmt:
				redirect_copy((CopyStmt *) pstmt->utilityStmt);
				break;
			case T_TruncateStmt:
				truncated = redirect_truncate((TruncateStmt *) pstmt->utilityStmt);
				break;
			case T_VacuumStmt:
				redirect_vacuum((VacuumStmt *) pstmt->utilityStmt);
				break;
			default:
				break;
		}
	}
	if (previous_utility)
		previous_utility(pstmt, query, read_only, context, params, env, dest,
						 completion);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env,
								dest, completion);
	check_truncated(truncated);
}

/*
 * Whether it is one of these statements and names a compatibility view, as
 * far as one can tell without a lock.
 */
static bool
names_view(Node *stmt)
{
	ListCell   *lc;

	switch (nodeTag(stmt))
	{
		case T_CopyStmt:
			return is_view(((CopyStmt *) stmt)->relation);
		case T_TruncateStmt:
			foreach(lc, ((TruncateStmt *) stmt)->relations)
			{
				if (is_view(lfirst_node(RangeVar, lc)))
					return true;
			}
			return false;
		case T_VacuumStmt:
			foreach(lc, ((VacuumStmt *) stmt)->rels)
			{
				if (is_view(lfirst_node(VacuumRelation, lc)->relation))
					return true;
			}
			return false;
		default:
			return false;
	}
}

/*
 * COPY TO shows the names of the columns, in its header, and finds those of
 * FORCE_QUOTE by them.  Where its list has a name that is not the table's, it
 * becomes a query that gives the column this name, as it does in the server
 * for a table with row security.
 */
static void
redirect_copy(CopyStmt *copy)
{
	Behind		behind;
	bool		renamed = false;
	ListCell   *lc;

	if (!look_behind(copy->relation, true, &behind))
		return;
	pin_table(behind.table, true);
	put_table(copy->relation, &behind);
	foreach(lc, copy->attlist)
	{
		if (table_column(&behind, strVal(lfirst(lc))) != NULL)
			renamed = true;
	}
	if (renamed && !copy->is_from &&
		get_rel_relkind(behind.table) == RELKIND_RELATION)
	{
		copy_as_query(copy, &behind);
		return;
	}
	use_table_columns(copy->attlist, &behind);
	foreach(lc, copy->options)
	{
		Node	   *arg = lfirst_node(DefElem, lc)->arg;

		/* FORCE_NOT_NULL, FORCE_NULL and FORCE_QUOTE have columns. */
		if (arg != NULL && IsA(arg, List))
			use_table_columns((List *) arg, &behind);
	}
	(void) redirect_where(copy->whereClause, &behind);
}

/*
 * In the condition of COPY FROM a column may be qualified by the name of the
 * relation.
 */
static bool
redirect_where(Node *node, void *context)
{
	const Behind *behind = context;
	ColumnRef  *ref = (ColumnRef *) node;
	int			last;

	if (node == NULL)
		return false;
	if (!IsA(node, ColumnRef))
		return raw_expression_tree_walker(node, redirect_where, context);

	/* schema.view.column, view.column or column; any may be a star. */
	last = list_length(ref->fields) - 1;
	if (last > 0 && IsA(list_nth(ref->fields, last - 1), String) &&
		strcmp(strVal(list_nth(ref->fields, last - 1)), behind->view) == 0)
	{
		ref->fields = list_copy_tail(ref->fields, last);
		if (!IsA(linitial(ref->fields), String))
			ref->fields = lcons(makeString(get_rel_name(behind->table)),
								ref->fields);
	}
	use_table_columns(ref->fields, behind);
	return false;
}

static void
copy_as_query(CopyStmt *copy, const Behind *behind)
{
	SelectStmt *select = makeNode(SelectStmt);
	ListCell   *lc;

	foreach(lc, copy->attlist)
	{
		char	   *name = strVal(lfirst(lc));
		char	   *column = table_column(behind, name);
		ResTarget  *target = makeNode(ResTarget);
		ColumnRef  *ref = makeNode(ColumnRef);

		ref->fields = list_make1(makeString(column ? column : name));
		ref->location = -1;
		target->name = name;
		target->val = (Node *) ref;
		target->location = -1;
		select->targetList = lappend(select->targetList, target);
	}
	/* As COPY does, without the rows of tables that inherit from it. */
	copy->relation->inh = false;
	select->fromClause = list_make1(copy->relation);
	copy->query = (Node *) select;
	copy->relation = NULL;
	copy->attlist = NIL;
}

/*
 * Returns the tables (oids) that have taken the place of views.
 */
static List *
redirect_truncate(TruncateStmt *truncate)
{
	List	   *tables = NIL;
	ListCell   *lc;

	foreach(lc, truncate->relations)
	{
		RangeVar   *name = lfirst_node(RangeVar, lc);
		Behind		behind;

		if (!look_behind(name, true, &behind))
			continue;
		put_table(name, &behind);
		tables = lappend_oid(tables, behind.table);
	}
	return tables;
}

/*
 * A truncated table stays locked, so a lock that is missing shows that the
 * name had become another table's.
 */
static void
check_truncated(List *tables)
{
	ListCell   *lc;

	foreach(lc, tables)
	{
		LOCKTAG		tag;

		SET_LOCKTAG_RELATION(tag, MyDatabaseId, lfirst_oid(lc));
		if (!zdm_lock_held_by_me(&tag, AccessExclusiveLock))
			ereport(ERROR,
					errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
					errmsg("table \"%s\" was renamed while it was to be truncated",
						   zdm_relation_label(lfirst_oid(lc))),
					errhint("Run the statement again."));
	}
}

/*
 * ANALYZE does not take a column twice, but a view may show one twice.
 */
static void
redirect_vacuum(VacuumStmt *vacuum)
{
	bool		wait = !skips_locked(vacuum);
	ListCell   *lc;

	foreach(lc, vacuum->rels)
	{
		VacuumRelation *rel = lfirst_node(VacuumRelation, lc);
		Behind		behind;
		List	   *columns = NIL;
		ListCell   *column;

		if (rel->relation == NULL || !look_behind(rel->relation, wait, &behind))
			continue;
		pin_table(behind.table, wait);
		put_table(rel->relation, &behind);
		use_table_columns(rel->va_cols, &behind);
		foreach(column, rel->va_cols)
			columns = list_append_unique(columns, lfirst(column));
		rel->va_cols = columns;
	}
}

static bool
skips_locked(VacuumStmt *vacuum)
{
	ListCell   *lc;

	foreach(lc, vacuum->options)
	{
		DefElem    *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, "skip_locked") == 0)
			return defGetBoolean(option);
	}
	return false;
}

/*
 * What is behind the view of that name, which is locked then; false where the
 * name is not that of a compatibility view, or not to be locked at once.
 */
static bool
look_behind(RangeVar *name, bool wait, Behind *behind)
{
	Oid			view;
	Relation	rel;
	Query	   *query;
	RangeTblEntry *rte;
	bool		found = false;

	if (!lock_view(name, wait, &view, &behind->table))
		return false;
	behind->view = name->relname;

	/* Somebody may have replaced it by another query. */
	rel = relation_open(view, NoLock);
	query = get_view_query(rel);
	if (query->jointree->quals == NULL &&
		list_length(query->jointree->fromlist) == 1 &&
		IsA(linitial(query->jointree->fromlist), RangeTblRef))
	{
		rte = rt_fetch(linitial_node(RangeTblRef, query->jointree->fromlist)->rtindex,
					   query->rtable);
		found = rte->rtekind == RTE_RELATION && rte->relid == behind->table;
		behind->columns = zdm_copy_node(query->targetList);
	}
	relation_close(rel, NoLock);
	return found;
}

/*
 * The loop of RangeVarGetRelid(), which cannot give up a relation that has
 * turned out to be another one.
 */
static bool
lock_view(RangeVar *name, bool wait, Oid *view, Oid *table)
{
	*view = find_relation(name);
	for (;;)
	{
		Oid			again;

		if (!OidIsValid(*view) || get_rel_relkind(*view) != RELKIND_VIEW)
			return false;
		*table = zdm_table_behind_view(*view);
		if (!OidIsValid(*table))
			return false;
		if (wait)
			LockRelationOid(*view, AccessShareLock);
		else if (!ConditionalLockRelationOid(*view, AccessShareLock))
			return false;
		again = find_relation(name);
		if (again == *view && zdm_table_behind_view(*view) == *table)
			return true;
		UnlockRelationOid(*view, AccessShareLock);
		*view = again;
	}
}

/*
 * A look without a lock.
 */
static bool
is_view(RangeVar *name)
{
	Oid			relid;

	if (name == NULL)
		return false;
	relid = find_relation(name);
	return OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW &&
		OidIsValid(zdm_table_behind_view(relid));
}

/*
 * The relation that a name means to the current user, by the way that the
 * server finds it; InvalidOid where it would raise an error.
 */
static Oid
find_relation(const RangeVar *name)
{
	Oid			schema;

	if (name->relpersistence == RELPERSISTENCE_TEMP)
		return InvalidOid;
	if (name->catalogname != NULL &&
		strcmp(name->catalogname, get_database_name(MyDatabaseId)) != 0)
		return InvalidOid;
	if (name->schemaname == NULL)
		return RelnameGetRelid(name->relname);
	schema = get_namespace_oid(name->schemaname, true);
	if (!OidIsValid(schema) ||
		object_aclcheck(NamespaceRelationId, schema, GetUserId(), ACL_USAGE) != ACLCHECK_OK)
		return InvalidOid;
	return get_relname_relid(name->relname, schema);
}

/*
 * Whoever may name the table may lock it like this: any query does, before
 * its privileges are checked.
 */
static void
pin_table(Oid table, bool wait)
{
	if (wait)
		LockRelationOid(table, AccessShareLock);
	else
		(void) ConditionalLockRelationOid(table, AccessShareLock);
}

static void
put_table(RangeVar *name, const Behind *behind)
{
	name->catalogname = NULL;
	name->schemaname = get_namespace_name(get_rel_namespace(behind->table));
	name->relname = get_rel_name(behind->table);
	if (name->schemaname == NULL || name->relname == NULL)
		elog(ERROR, "cache lookup failed for relation %u", behind->table);
}

/*
 * Change the names in a list, of String nodes for the most part, to those
 * that the columns have in the table.
 */
static void
use_table_columns(List *names, const Behind *behind)
{
	ListCell   *lc;

	foreach(lc, names)
	{
		char	   *column = NULL;

		if (IsA(lfirst(lc), String))
			column = table_column(behind, strVal(lfirst(lc)));
		if (column != NULL)
			lfirst(lc) = makeString(column);
	}
}

/*
 * The name in the table of a column that has another one there; NULL for any
 * other column.
 */
static char *
table_column(const Behind *behind, const char *name)
{
	ListCell   *lc;

	foreach(lc, behind->columns)
	{
		TargetEntry *target = lfirst_node(TargetEntry, lc);
		char	   *column;

		if (strcmp(target->resname, name) != 0 || !IsA(target->expr, Var))
			continue;
		column = get_attname(behind->table, ((Var *) target->expr)->varattno, false);
		return strcmp(column, name) != 0 ? column : NULL;
	}
	return NULL;
}
