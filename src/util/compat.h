/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  The one place that knows server versions.
 *
 * Callers use the newest signature; older servers get it by a macro or an
 * inline function here.  Nothing else in zdm tests PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_COMPAT_H
#define ZDM_COMPAT_H

#include "postgres.h"

#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_namespace.h"
#include "catalog/dependency.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"

/* 15 declares walkers with empty parameter lists. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include "nodes/nodeFuncs.h"
#pragma GCC diagnostic pop

#include "parser/parse_relation.h"
#include "parser/parse_type.h"
#include "parser/parsetree.h"
#include "utils/acl.h"
#include "utils/rel.h"
#include "utils/relcache.h"
#include "utils/syscache.h"

/* postgres.h has it up to 18, and up to 15 there is no such file. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#if PG_VERSION_NUM < 150000
#error "zdm needs PostgreSQL 15 or later"
#endif

/* Ownership and privilege checks take the catalog's oid since 16. */
#if PG_VERSION_NUM < 160000
static inline bool
object_ownercheck(Oid classid, Oid objectid, Oid roleid)
{
	Assert(classid == RelationRelationId);
	return pg_class_ownercheck(objectid, roleid);
}

static inline AclResult
object_aclcheck(Oid classid, Oid objectid, Oid roleid, AclMode mode)
{
	Assert(classid == ProcedureRelationId ||
		   classid == NamespaceRelationId || classid == TypeRelationId);
	return classid == NamespaceRelationId ?
		pg_namespace_aclcheck(objectid, roleid, mode) :
		classid == TypeRelationId ?
		pg_type_aclcheck(objectid, roleid, mode) :
		pg_proc_aclcheck(objectid, roleid, mode);
}
#endif

/* A NOT NULL is a constraint since 18, and as such depends on its column. */
static inline bool
zdm_constraint_is_not_null(Oid constraint)
{
#if PG_VERSION_NUM >= 180000
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		result;

	if (!HeapTupleIsValid(tuple))
		return false;
	result = ((Form_pg_constraint) GETSTRUCT(tuple))->contype == CONSTRAINT_NOTNULL;
	ReleaseSysCache(tuple);
	return result;
#else
	return false;
#endif
}

/* The physical identity of a relation's storage. */
#if PG_VERSION_NUM >= 160000
#define zdm_relation_filenumber(rel) ((rel)->rd_locator.relNumber)
#else
#define zdm_relation_filenumber(rel) ((rel)->rd_node.relNode)
#endif

/*
 * The columns that a statement named for one of its range table entries;
 * they moved from the entry to a permission info of its own in 16.
 */
static inline Bitmapset *
zdm_rte_inserted_cols(PlannedStmt *stmt, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	if (rte->perminfoindex == 0)
		return NULL;
	return getRTEPermissionInfo(stmt->permInfos, rte)->insertedCols;
#else
	return rte->insertedCols;
#endif
}

/* Whether a statement may insert into a range table entry. */
static inline bool
zdm_rte_is_insert_target(PlannedStmt *stmt, RangeTblEntry *rte)
{
#if PG_VERSION_NUM >= 160000
	return rte->perminfoindex != 0 &&
		(getRTEPermissionInfo(stmt->permInfos, rte)->requiredPerms & ACL_INSERT) != 0;
#else
	return (rte->requiredPerms & ACL_INSERT) != 0;
#endif
}

/*
 * What a query may do with one of its range table entries, a part of the entry
 * itself up to 15; and room for the same of a new one.
 */
#if PG_VERSION_NUM >= 160000
typedef RTEPermissionInfo ZdmPermissions;
#define zdm_permissions(query, rte) getRTEPermissionInfo((query)->rteperminfos, rte)
#define zdm_add_permissions(query, rte) addRTEPermissionInfo(&(query)->rteperminfos, rte)
#else
typedef RangeTblEntry ZdmPermissions;
#define zdm_permissions(query, rte) (rte)
#define zdm_add_permissions(query, rte) (rte)
#endif

/* The hook behind parse analysis gets a constant since 19. */
#if PG_VERSION_NUM >= 190000
typedef const struct JumbleState ZdmJumbleState;
#else
typedef struct JumbleState ZdmJumbleState;
#endif

/*
 * Have the rights on the tables that the analysis of a statement has come by
 * so far checked as their owners'.
 */
static inline void
zdm_check_as_owners(ParseState *pstate, Oid (*owner_of) (Oid relid))
{
	ListCell   *lc;

#if PG_VERSION_NUM >= 160000
	foreach(lc, pstate->p_rteperminfos)
	{
		RTEPermissionInfo *info = lfirst_node(RTEPermissionInfo, lc);

		info->checkAsUser = owner_of(info->relid);
	}
#else
	foreach(lc, pstate->p_rtable)
	{
		RangeTblEntry *rte = lfirst_node(RangeTblEntry, lc);

		if (rte->rtekind == RTE_RELATION)
			rte->checkAsUser = owner_of(rte->relid);
	}
#endif
}

/* Whether names mean what they did; called so since 17. */
#if PG_VERSION_NUM >= 170000
#define zdm_search_path_matches(path) SearchPathMatchesCurrentEnvironment(path)
#else
#define zdm_search_path_matches(path) OverrideSearchPathMatchesCurrent(path)
#endif

/*
 * The range table indexes of the tables that a statement writes: the next one
 * after a previous (0: the first), or 0.
 */
static inline int
zdm_next_result_relation(const PlannedStmt *stmt, int previous)
{
#if PG_VERSION_NUM >= 190000
	int			next = bms_next_member(stmt->resultRelationRelids,
									   previous > 0 ? previous : -1);

	return next > 0 ? next : 0;
#else
	bool		take = previous == 0;
	ListCell   *lc;

	foreach(lc, stmt->resultRelations)
	{
		if (take)
			return lfirst_int(lc);
		take = lfirst_int(lc) == previous;
	}
	return 0;
#endif
}

/* Scans and updates take options since 19. */
#if PG_VERSION_NUM >= 190000
#define zdm_beginscan(rel, snapshot) \
	table_beginscan(rel, snapshot, 0, NULL, SO_NONE)
#define zdm_beginscan_tidrange(rel, snapshot, first, last) \
	table_beginscan_tidrange(rel, snapshot, first, last, SO_NONE)
#define zdm_tuple_update(rel, tid, slot, cid, ...) \
	table_tuple_update(rel, tid, slot, cid, 0, __VA_ARGS__)
#else
#define zdm_beginscan(rel, snapshot) table_beginscan(rel, snapshot, 0, NULL)
#define zdm_beginscan_tidrange table_beginscan_tidrange
#define zdm_tuple_update table_tuple_update
#endif

/* Publications that name the table; 19 lists those that leave it out, too. */
#if PG_VERSION_NUM >= 190000
#define zdm_relation_publications GetRelationIncludedPublications
#else
#define zdm_relation_publications GetRelationPublications
#endif

/* Whether an update needs new index entries: a flag, since 16 three ways. */
#if PG_VERSION_NUM < 160000
typedef bool TU_UpdateIndexes;
#define TU_None false
#define TU_Summarizing 2
#endif

static inline List *
zdm_insert_index_tuples(ResultRelInfo *relinfo, TupleTableSlot *slot,
						EState *estate, TU_UpdateIndexes which)
{
#if PG_VERSION_NUM >= 190000
	return ExecInsertIndexTuples(relinfo, estate,
								 EIIT_IS_UPDATE |
								 (which == TU_Summarizing ?
								  EIIT_ONLY_SUMMARIZING : 0),
								 slot, NIL, NULL);
#elif PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(relinfo, slot, estate, true, false, NULL,
								 NIL, which == TU_Summarizing);
#else
	return ExecInsertIndexTuples(relinfo, slot, estate, true, false, NULL,
								 NIL);
#endif
}

/* The same for a row that is new. */
static inline List *
zdm_insert_new_index_tuples(ResultRelInfo *relinfo, TupleTableSlot *slot, EState *estate)
{
#if PG_VERSION_NUM >= 190000
	return ExecInsertIndexTuples(relinfo, estate, 0, slot, NIL, NULL);
#elif PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(relinfo, slot, estate, false, false, NULL, NIL, false);
#else
	return ExecInsertIndexTuples(relinfo, slot, estate, false, false, NULL, NIL);
#endif
}

/* The same, unless another row's entry is in the way, which is no error. */
static inline List *
zdm_try_insert_index_tuples(ResultRelInfo *relinfo, TupleTableSlot *slot, EState *estate,
							bool *conflict)
{
#if PG_VERSION_NUM >= 190000
	return ExecInsertIndexTuples(relinfo, estate, EIIT_NO_DUPE_ERROR, slot, NIL, conflict);
#elif PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(relinfo, slot, estate, false, true, conflict, NIL, false);
#else
	return ExecInsertIndexTuples(relinfo, slot, estate, false, true, conflict, NIL);
#endif
}

/* Whether no row is in the way of a new one; it may be the row itself since 18. */
static inline bool
zdm_no_row_conflicts(ResultRelInfo *relinfo, TupleTableSlot *slot, EState *estate)
{
	ItemPointerData conflict;
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(relinfo, slot, estate, &conflict, &none, NIL);
#else
	return ExecCheckIndexConstraints(relinfo, slot, estate, &conflict, NIL);
#endif
}

/* A scan of an index takes more and more besides its keys since 18. */
#if PG_VERSION_NUM >= 190000
#define zdm_index_beginscan(rel, index, snapshot, keys) \
	index_beginscan(rel, index, snapshot, NULL, keys, 0, SO_NONE)
#elif PG_VERSION_NUM >= 180000
#define zdm_index_beginscan(rel, index, snapshot, keys) \
	index_beginscan(rel, index, snapshot, NULL, keys, 0)
#else
#define zdm_index_beginscan(rel, index, snapshot, keys) \
	index_beginscan(rel, index, snapshot, keys, 0)
#endif

/* What one backend is doing, of those seen in this transaction. */
#if PG_VERSION_NUM < 160000
#define pgstat_get_local_beentry_by_index(index) \
	pgstat_fetch_stat_local_beentry(index)
#endif

/* The attribute for functions that do not return is a prefix since 18. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

/* ExecutorRun's execute_once went away in 18. */
#if PG_VERSION_NUM >= 180000
#define ZDM_RUN_PARAMS QueryDesc *desc, ScanDirection direction, uint64 count
#define ZDM_RUN_ARGS desc, direction, count
#else
#define ZDM_RUN_PARAMS QueryDesc *desc, ScanDirection direction, \
	uint64 count, bool execute_once
#define ZDM_RUN_ARGS desc, direction, count, execute_once
#endif

#if PG_VERSION_NUM >= 180000
#define zdm_executor_run(desc, direction, count) ExecutorRun(desc, direction, count)
#else
#define zdm_executor_run(desc, direction, count) ExecutorRun(desc, direction, count, true)
#endif

/* PortalRun's run_once went away in 18. */
#if PG_VERSION_NUM >= 180000
#define zdm_portal_run(portal, dest) \
	PortalRun(portal, FETCH_ALL, true, dest, dest, NULL)
#else
#define zdm_portal_run(portal, dest) \
	PortalRun(portal, FETCH_ALL, true, true, dest, dest, NULL)
#endif

/* Generated columns that are computed when they are read came with 18. */
#if PG_VERSION_NUM >= 180000
#define ZDM_HAVE_VIRTUAL_COLUMNS true
#else
#define ZDM_HAVE_VIRTUAL_COLUMNS false
#endif

/* A CHECK constraint that is not enforced there may be since 18. */
#if PG_VERSION_NUM >= 180000
#define zdm_check_is_enforced(check) ((check)->ccenforced)
#else
#define zdm_check_is_enforced(check) true
#endif

/* Deferrable primary keys are asked for explicitly since 18. */
#if PG_VERSION_NUM >= 180000
#define zdm_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel, true)
#else
#define zdm_primary_key_index(rel) RelationGetPrimaryKeyIndex(rel)
#endif

/* copyObject() is a macro that asks for C23 since 19. */
#define zdm_copy_node(node) copyObjectImpl(node)

/*
 * DefineIndex counts partitions since 16, and takes a ParseState since 19.
 * Of one table, by its oid, without a look at the schema's privileges.
 */
#if PG_VERSION_NUM >= 190000
#define zdm_define_index(relid, stmt) \
	DefineIndex(NULL, relid, stmt, InvalidOid, InvalidOid, InvalidOid, -1, \
				false, false, true, false, true)
#elif PG_VERSION_NUM >= 160000
#define zdm_define_index(relid, stmt) \
	DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid, -1, \
				false, false, true, false, true)
#else
#define zdm_define_index(relid, stmt) \
	DefineIndex(relid, stmt, InvalidOid, InvalidOid, InvalidOid, \
				false, false, true, false, true)
#endif

/* Since 17 one may ask for stronger locks, too. */
#if PG_VERSION_NUM >= 170000
#define zdm_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode, false)
#else
#define zdm_lock_held_by_me(tag, mode) LockHeldByMe(tag, mode)
#endif

/* Since 19 one may ask whether a domain's constraints are volatile, too. */
#if PG_VERSION_NUM >= 190000
#define zdm_domain_has_constraints(type) DomainHasConstraints(type, NULL)
#else
#define zdm_domain_has_constraints(type) DomainHasConstraints(type)
#endif

/* Reading a type's name takes an error context since 16. */
#if PG_VERSION_NUM >= 160000
#define zdm_parse_type_string(text, type, typmod) \
	((void) parseTypeString(text, type, typmod, NULL))
#else
#define zdm_parse_type_string(text, type, typmod) \
	parseTypeString(text, type, typmod, false)
#endif

/* The sequence of an identity column is asked of the open table since 17. */
#if PG_VERSION_NUM >= 170000
static inline Oid
zdm_identity_sequence(Oid relid, AttrNumber attnum)
{
	Relation	rel = RelationIdGetRelation(relid);
	Oid			result = getIdentitySequence(rel, attnum, false);

	RelationClose(rel);
	return result;
}
#else
#define zdm_identity_sequence(relid, attnum) getIdentitySequence(relid, attnum, false)
#endif

/* Whether an index is of a constraint WITHOUT OVERLAPS, which came with 18. */
#if PG_VERSION_NUM >= 180000
#define zdm_index_stmt_plain(stmt) ((stmt)->iswithoutoverlaps = false)
#else
#define zdm_index_stmt_plain(stmt) ((void) 0)
#endif

/* The columns that an UPDATE sets in each of its tables; since 18 of those not pruned. */
#if PG_VERSION_NUM >= 180000
#define zdm_update_colnos(modify) ((modify)->mt_updateColnosLists)
#else
#define zdm_update_colnos(modify) (castNode(ModifyTable, (modify)->ps.plan)->updateColnosLists)
#endif

/* What a MERGE does to rows that it has found, in the order of its clauses. */
static inline List *
zdm_merge_actions(ResultRelInfo *info)
{
#if PG_VERSION_NUM >= 170000
	return list_concat_copy(info->ri_MergeActions[MERGE_WHEN_MATCHED],
							info->ri_MergeActions[MERGE_WHEN_NOT_MATCHED_BY_SOURCE]);
#else
	return info->ri_matchedMergeAction;
#endif
}

#endif							/* ZDM_COMPAT_H */
