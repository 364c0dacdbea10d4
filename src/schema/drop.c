/*-------------------------------------------------------------------------
 *
 * drop.c
 *	  What goes when a column or a table is dropped, and what is in the way.
 *
 * The server drops along, without a word, whatever depends on the object
 * automatically, and refuses where anything else depends on it or on what goes
 * along.  Here pg_depend is followed in the same way, so that both can be told
 * before anything is locked.
 *
 * Of a column, more is in the way than the server says: an index, a constraint
 * or a statistics object that has other columns, too, is there for these as
 * well, and goes only when somebody who knows has seen to it; and so does the
 * index that is the table's replica identity.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/indexing.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_publication_rel.h"
#include "catalog/pg_statistic_ext.h"
#include "catalog/pg_trigger.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "schema/depend.h"
#include "schema/drop.h"
#include "schema/relation.h"

/* What goes, and how it was come to. */
typedef struct Going
{
	ObjectAddress object;
	DependencyType reason;		/* of what led to it; 0: it was asked for */
} Going;

typedef struct DropWalk
{
	Relation	depend;
	List	   *going;			/* of Going *, each looked at once */
	List	   *needing;		/* of ObjectAddress *: what would be refused
								 * for */
	bool		column;			/* no more than a column is dropped */
} DropWalk;

static ZdmDrop *walk(DropWalk *drop);
static void start_with(DropWalk *drop, Oid relid, AttrNumber attnum);
static void follow(DropWalk *drop, const ObjectAddress *object);
static void add_going(DropWalk *drop, const ObjectAddress *object, DependencyType reason);
static bool goes(DropWalk *drop, const ObjectAddress *object);
static ZdmDrop *sort_out(DropWalk *drop);
static const char *objection(DropWalk *drop, const Going *going);
static bool has_other_columns(DropWalk *drop, const ObjectAddress *object);
static bool is_worth_telling(DropWalk *drop, const Going *going);
static bool is_replica_identity(Oid index);
static Oid	referenced_table(Oid constraint);
static bool is_constraint_worth_telling(DropWalk *drop, Oid constraint);

/*
 * Of a column of the table and of its partitions.
 */
ZdmDrop *
zdm_drop_of_column(Oid relid, const char *column)
{
	DropWalk	drop = {.column = true};
	ListCell   *lc;

	foreach(lc, zdm_table_and_partitions(relid))
	{
		AttrNumber	attnum = get_attnum(lfirst_oid(lc), column);

		if (attnum > 0)
			start_with(&drop, lfirst_oid(lc), attnum);
	}
	return walk(&drop);
}

/*
 * Of the table with its partitions.
 */
ZdmDrop *
zdm_drop_of_table(Oid relid)
{
	DropWalk	drop = {0};

	start_with(&drop, relid, 0);
	return walk(&drop);
}

static void
start_with(DropWalk *drop, Oid relid, AttrNumber attnum)
{
	ObjectAddress object;

	ObjectAddressSubSet(object, RelationRelationId, relid, attnum);
	add_going(drop, &object, 0);
}

static ZdmDrop *
walk(DropWalk *drop)
{
	ZdmDrop    *result;

	drop->depend = table_open(DependRelationId, AccessShareLock);
	/* The list grows while it is walked. */
	for (int i = 0; i < list_length(drop->going); i++)
		follow(drop, &((Going *) list_nth(drop->going, i))->object);
	result = sort_out(drop);
	table_close(drop->depend, AccessShareLock);
	return result;
}

/*
 * What depends on an object: goes with it, or needs it.
 */
static void
follow(DropWalk *drop, const ObjectAddress *object)
{
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&keys[0], Anum_pg_depend_refclassid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(object->classId));
	ScanKeyInit(&keys[1], Anum_pg_depend_refobjid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(object->objectId));
	ScanKeyInit(&keys[2], Anum_pg_depend_refobjsubid, BTEqualStrategyNumber,
				F_INT4EQ, Int32GetDatum(object->objectSubId));
	scan = systable_beginscan(drop->depend, DependReferenceIndexId, true, NULL,
							  object->objectSubId == 0 ? 2 : 3, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress *dependent = palloc_object(ObjectAddress);

		ObjectAddressSubSet(*dependent, form->classid, form->objid, form->objsubid);
		if (form->deptype == DEPENDENCY_NORMAL)
			drop->needing = lappend(drop->needing, dependent);
		else
			add_going(drop, dependent, form->deptype);
	}
	systable_endscan(scan);
}

static void
add_going(DropWalk *drop, const ObjectAddress *object, DependencyType reason)
{
	Going	   *going;

	if (goes(drop, object))
		return;
	going = palloc_object(Going);
	going->object = *object;
	going->reason = reason;
	drop->going = lappend(drop->going, going);
}

static bool
goes(DropWalk *drop, const ObjectAddress *object)
{
	ListCell   *lc;

	foreach(lc, drop->going)
	{
		const ObjectAddress *other = &((Going *) lfirst(lc))->object;

		if (other->classId == object->classId && other->objectId == object->objectId &&
			(other->objectSubId == 0 || other->objectSubId == object->objectSubId))
			return true;
	}
	return false;
}

/*
 * Now that it is known what goes.
 */
static ZdmDrop *
sort_out(DropWalk *drop)
{
	ZdmDrop    *result = palloc0_object(ZdmDrop);
	ListCell   *lc;

	foreach(lc, drop->needing)
	{
		const ObjectAddress *object = lfirst(lc);

		if (!goes(drop, object))
			result->in_the_way = zdm_add_line(result->in_the_way,
											  zdm_describe_dependent(*object));
	}
	foreach(lc, drop->going)
	{
		const Going *going = lfirst(lc);
		const char *why = objection(drop, going);

		if (why != NULL)
			result->in_the_way = zdm_add_line(result->in_the_way,
											  psprintf("%s, %s", zdm_describe_dependent(going->object), why));
		else if (is_worth_telling(drop, going))
			result->along = zdm_add_line(result->along,
										 zdm_describe_dependent(going->object));
		if (going->object.classId == ConstraintRelationId)
		{
			Oid			referenced = referenced_table(going->object.objectId);
			ObjectAddress table;

			ObjectAddressSet(table, RelationRelationId, referenced);
			if (OidIsValid(referenced) && !goes(drop, &table))
				result->referenced = list_append_unique_oid(result->referenced, referenced);
		}
	}
	return result;
}

/*
 * Why an object that the server would drop along must not go so, or NULL.
 */
static const char *
objection(DropWalk *drop, const Going *going)
{
	const ObjectAddress *object = &going->object;

	if (!drop->column)
		return NULL;
	if (object->classId == RelationRelationId && object->objectSubId == 0 &&
		is_replica_identity(object->objectId))
		return "which is the table's replica identity";
	if ((object->classId == RelationRelationId || object->classId == ConstraintRelationId ||
		 object->classId == StatisticExtRelationId) &&
		has_other_columns(drop, object))
		return "which has other columns, too";
	return NULL;
}

/*
 * Whether an object is made of columns that stay.  What a foreign key refers
 * to it is not made of.
 */
static bool
has_other_columns(DropWalk *drop, const ObjectAddress *object)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		result = false;

	ScanKeyInit(&keys[0], Anum_pg_depend_classid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(object->classId));
	ScanKeyInit(&keys[1], Anum_pg_depend_objid, BTEqualStrategyNumber,
				F_OIDEQ, ObjectIdGetDatum(object->objectId));
	scan = systable_beginscan(drop->depend, DependDependerIndexId, true, NULL, 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_depend form = (Form_pg_depend) GETSTRUCT(tuple);
		ObjectAddress other;

		ObjectAddressSubSet(other, form->refclassid, form->refobjid, form->refobjsubid);
		if (other.classId == RelationRelationId && other.objectSubId > 0 &&
			form->deptype == DEPENDENCY_AUTO && !goes(drop, &other))
			result = true;
	}
	systable_endscan(scan);
	return result;
}

/*
 * Whether somebody may wonder where it has gone.  What makes up the column or
 * the table itself, or belongs to something else that goes, is not told.
 */
static bool
is_worth_telling(DropWalk *drop, const Going *going)
{
	const ObjectAddress *object = &going->object;

	if (going->reason == 0)
		return false;
	switch (object->classId)
	{
		case RelationRelationId:
			switch (get_rel_relkind(object->objectId))
			{
				case RELKIND_SEQUENCE:
					return true;
				case RELKIND_RELATION:
				case RELKIND_PARTITIONED_TABLE:
				case RELKIND_FOREIGN_TABLE:
					return !drop->column;
				case RELKIND_INDEX:
				case RELKIND_PARTITIONED_INDEX:
					return drop->column && going->reason == DEPENDENCY_AUTO &&
						!get_rel_relispartition(object->objectId);
				default:
					return false;
			}
		case ConstraintRelationId:
			return is_constraint_worth_telling(drop, object->objectId);
		case StatisticExtRelationId:
			return drop->column;
		case PolicyRelationId:
		case PublicationRelRelationId:
			return true;
		case TriggerRelationId:
			return going->reason == DEPENDENCY_AUTO;
		default:
			return false;
	}
}

static bool
is_replica_identity(Oid index)
{
	HeapTuple	tuple = SearchSysCache1(INDEXRELID, ObjectIdGetDatum(index));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		result = ((Form_pg_index) GETSTRUCT(tuple))->indisreplident;
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * The table that a foreign key refers to; InvalidOid for other constraints.
 */
static Oid
referenced_table(Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	Oid			result = InvalidOid;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		if (form->contype == CONSTRAINT_FOREIGN)
			result = form->confrelid;
		ReleaseSysCache(tuple);
	}
	return result;
}

/*
 * A partition's constraint is told with its parent's.  Of a table, only what
 * reaches another one.
 */
static bool
is_constraint_worth_telling(DropWalk *drop, Oid constraint)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(constraint));
	bool		result = false;

	if (HeapTupleIsValid(tuple))
	{
		Form_pg_constraint form = (Form_pg_constraint) GETSTRUCT(tuple);

		/* 'n': NOT NULL, which is in the catalog since 18. */
		result = !OidIsValid(form->conparentid) && form->contype != 'n' &&
			(drop->column || (form->contype == CONSTRAINT_FOREIGN &&
							  form->confrelid != form->conrelid));
		ReleaseSysCache(tuple);
	}
	return result;
}
