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
 * What a name means must not change between this and the server's own look at
 * the statement: a statement that waits for a swap of view and table would go
 * on with the wrong one, and fail.  So relations are locked here, each as the
 * server is going to, and their names resolved again under the lock, whether it
 * is a view's or a table's that may become one.  A view is locked before its
 * table, as in every query.
 *
 * A weak lock that is held by one who waits for a stronger one invites deadlocks
 * that the server alone does not know.  So COPY and TRUNCATE get the lock that
 * they need at once, on the same relations in the same order, and TRUNCATE after
 * the same check of privileges as in the server.  ANALYZE and VACUUM, which may
 * take theirs much later, hold none: they are given the table itself, by its
 * oid.
 *
 * The columns of a list are the view's, and may have another name in the
 * table; the view's own query says which.  COPY without a list means the
 * table's columns.
 *
 * Where the extension does not exist, nothing of this is done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
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
#include "utils/varlena.h"

#include "catalog/compatibility_view.h"
#include "hooks/query.h"
#include "hooks/utility.h"
#include "util/compat.h"
#include "util/guc.h"

/* What stands behind a name. */
typedef struct Behind
{
	char	   *view;			/* its bare name, as the statement has it */
	Oid			table;
	bool		locked;			/* the table; if not, the server will say why */
	List	   *columns;		/* of TargetEntry *: the view's */
} Behind;

static ProcessUtility_hook_type previous_utility = NULL;

static void process_utility(PlannedStmt *pstmt, const char *query,
							bool read_only, ProcessUtilityContext context,
							ParamListInfo params, QueryEnvironment *env,
							DestReceiver *dest, QueryCompletion *completion);
static void make_view(PlannedStmt *pstmt, const char *query, bool read_only,
					  ProcessUtilityContext context, ParamListInfo params,
					  QueryEnvironment *env, DestReceiver *dest,
					  QueryCompletion *completion);
static void next_utility(PlannedStmt *pstmt, const char *query,
						 bool read_only, ProcessUtilityContext context,
						 ParamListInfo params, QueryEnvironment *env,
						 DestReceiver *dest, QueryCompletion *completion);
static bool is_concerned(Node *stmt);
static void redirect_copy(CopyStmt *copy);
static bool redirect_where(Node *node, void *context);
static void copy_as_query(CopyStmt *copy, const Behind *behind);
static void redirect_truncate(TruncateStmt *truncate);
static void redirect_vacuum(VacuumStmt *vacuum);
static bool skips_locked(VacuumStmt *vacuum);
static bool look_behind(RangeVar *name, LOCKMODE mode, Behind *behind);
static Oid	lock_relation(RangeVar *name, LOCKMODE mode, bool wait, Oid *table);
static bool may_lock(Oid relid, LOCKMODE mode);
static bool shows_table(Oid view, Behind *behind);
static Oid	find_relation(const RangeVar *name);
static void put_table(RangeVar *name, const Behind *behind);
static void use_table_columns(List *names, const Behind *behind);
static char *table_column(const Behind *behind, const char *name);

void
zdm_utility_init(void)
{
	previous_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}

/*
 * Whether a new session has the hook from its start.
 */
bool
zdm_utility_preloaded(void)
{
	List	   *names;
	ListCell   *lc;

	if (zdm_preloaded)
		return true;
	if (!SplitDirectoriesString(pstrdup(session_preload_libraries_string), ',', &names))
		return false;
	foreach(lc, names)
	{
		char	   *name = lfirst(lc);

		if (strcmp(name, "zdm") == 0 || strcmp(name, "$libdir/zdm") == 0)
			return true;
	}
	return false;
}

static void
process_utility(PlannedStmt *pstmt, const char *query, bool read_only,
				ProcessUtilityContext context, ParamListInfo params,
				QueryEnvironment *env, DestReceiver *dest,
				QueryCompletion *completion)
{
	if (is_concerned(pstmt->utilityStmt) && zdm_exists())
	{
		PlannedStmt *ours = palloc_object(PlannedStmt);

		/* The tree may be a cached plan's. */
		memcpy(ours, pstmt, sizeof(PlannedStmt));
		ours->utilityStmt = zdm_copy_node(pstmt->utilityStmt);
		pstmt = ours;
		read_only = false;
		if (IsA(pstmt->utilityStmt, CopyStmt))
			redirect_copy((CopyStmt *) pstmt->utilityStmt);
		else if (IsA(pstmt->utilityStmt, TruncateStmt))
			redirect_truncate((TruncateStmt *) pstmt->utilityStmt);
		else
			redirect_vacuum((VacuumStmt *) pstmt->utilityStmt);
	}
	if (IsA(pstmt->utilityStmt, ViewStmt))
		make_view(pstmt, query, read_only, context, params, env, dest, completion);
	else
		next_utility(pstmt, query, read_only, context, params, env, dest, completion);
}

/*
 * The view is to name what the user has named.
 */
static void
make_view(PlannedStmt *pstmt, const char *query, bool read_only,
		  ProcessUtilityContext context, ParamListInfo params,
		  QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	bool		storing = zdm_query_storing(true);

	PG_TRY();
	{
		next_utility(pstmt, query, read_only, context, params, env, dest, completion);
	}
	PG_FINALLY();
	{
		(void) zdm_query_storing(storing);
	}
	PG_END_TRY();
}

static void
next_utility(PlannedStmt *pstmt, const char *query, bool read_only,
			 ProcessUtilityContext context, ParamListInfo params,
			 QueryEnvironment *env, DestReceiver *dest, QueryCompletion *completion)
{
	if (previous_utility)
		previous_utility(pstmt, query, read_only, context, params, env, dest,
						 completion);
	else
		standard_ProcessUtility(pstmt, query, read_only, context, params, env,
								dest, completion);
}

/*
 * TRUNCATE in a transaction that is read only (on a standby each one is) gets
 * the server's refusal, without a lock.
 */
static bool
is_concerned(Node *stmt)
{
	switch (nodeTag(stmt))
	{
		case T_CopyStmt:
			return ((CopyStmt *) stmt)->relation != NULL;
		case T_TruncateStmt:
			return !XactReadOnly;
		case T_VacuumStmt:
			return ((VacuumStmt *) stmt)->rels != NIL;
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

	if (!look_behind(copy->relation,
					 copy->is_from ? RowExclusiveLock : AccessShareLock, &behind))
		return;
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

static void
redirect_truncate(TruncateStmt *truncate)
{
	ListCell   *lc;

	foreach(lc, truncate->relations)
	{
		RangeVar   *name = lfirst_node(RangeVar, lc);
		Behind		behind;

		if (look_behind(name, AccessExclusiveLock, &behind))
			put_table(name, &behind);
		if (!behind.locked)
			break;
		if (name->inh)
			(void) find_all_inheritors(behind.table, AccessExclusiveLock, NULL);
	}
}

/*
 * The server does not look for the partitions of a table that it is given by its
 * oid, so a partitioned one it gets by name.  ANALYZE does not take a column
 * twice, but a view may show one twice.
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
		Oid			relid;

		if (rel->relation == NULL)
			continue;
		relid = lock_relation(rel->relation, AccessShareLock, wait, &behind.table);
		if (!OidIsValid(relid))
			continue;
		behind.view = rel->relation->relname;
		if (relid != behind.table && shows_table(relid, &behind))
		{
			List	   *columns = NIL;
			ListCell   *column;

			put_table(rel->relation, &behind);
			if (get_rel_relkind(behind.table) != RELKIND_PARTITIONED_TABLE)
				rel->oid = behind.table;
			use_table_columns(rel->va_cols, &behind);
			foreach(column, rel->va_cols)
				columns = list_append_unique(columns, lfirst(column));
			rel->va_cols = columns;
		}
		UnlockRelationOid(relid, AccessShareLock);
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
 * Lock the relation of that name, and the table behind it.  Returns true where
 * it is a compatibility view.
 */
static bool
look_behind(RangeVar *name, LOCKMODE mode, Behind *behind)
{
	Oid			relid = lock_relation(name, mode, true, &behind->table);

	behind->view = name->relname;
	behind->locked = OidIsValid(relid) && relid == behind->table;
	if (!OidIsValid(relid) || behind->locked || !shows_table(relid, behind))
		return false;
	behind->locked = may_lock(behind->table, mode);
	if (behind->locked)
		LockRelationOid(behind->table, mode);
	return true;
}

/*
 * Returns the relation: a compatibility view, locked, and the table behind it,
 * not locked; or a table, locked.  Works as RangeVarGetRelid() does, which cannot
 * give up a relation that has turned out to be another one.
 */
static Oid
lock_relation(RangeVar *name, LOCKMODE mode, bool wait, Oid *table)
{
	Oid			relid = find_relation(name);

	for (;;)
	{
		bool		is_view = OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_VIEW;
		LOCKMODE	lock = is_view ? AccessShareLock : mode;
		Oid			again;

		*table = is_view ? zdm_table_behind_view(relid) : relid;
		if (!OidIsValid(*table) || (!is_view && !may_lock(relid, mode)))
			return InvalidOid;
		if (wait)
			LockRelationOid(relid, lock);
		else if (!ConditionalLockRelationOid(relid, lock))
			return InvalidOid;
		again = find_relation(name);
		if (again == relid && (!is_view || zdm_table_behind_view(relid) == *table))
			return relid;
		UnlockRelationOid(relid, lock);
		relid = again;
	}
}

/*
 * Whether the statement that wants this lock gets as far as to take it.
 */
static bool
may_lock(Oid relid, LOCKMODE mode)
{
	char		kind = get_rel_relkind(relid);

	if (kind != RELKIND_RELATION && kind != RELKIND_PARTITIONED_TABLE &&
		kind != RELKIND_FOREIGN_TABLE)
		return false;
	return mode != AccessExclusiveLock ||
		(relid >= FirstNormalObjectId &&
		 pg_class_aclcheck(relid, GetUserId(), ACL_TRUNCATE) == ACLCHECK_OK);
}

/*
 * Whether the view is still what zdm made it, a look at one table; learns its
 * columns.
 */
static bool
shows_table(Oid view, Behind *behind)
{
	Relation	rel = relation_open(view, NoLock);
	Query	   *query = get_view_query(rel);
	bool		shows = zdm_table_in_query(query) == behind->table;

	if (shows)
		behind->columns = zdm_copy_node(query->targetList);
	relation_close(rel, NoLock);
	return shows;
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
