/*-------------------------------------------------------------------------
 *
 * spi.c
 *	  Checked SQL, with the identity and the search_path it runs under.
 *
 * Three identities exist:
 *
 * - the caller's, for DDL: PostgreSQL itself checks again that the caller
 *   may do what zdm does for him.  zdm_pin_path() only.
 * - the table owner's, for whatever evaluates code that belongs to the table
 *   (a backfill, a verification), in a security-restricted operation, so that
 *   a superuser who runs it lends that code nothing.  zdm_become().
 * - the catalog owner's, for zdm's own tables.  The statements that run so
 *   are constants of this library that name only pg_catalog and zdm, and
 *   their values are parameters.  zdm_catalog_begin().
 *
 * A commit pops every nest level of settings, so an identity is taken and
 * given back within one transaction, always.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/syscache.h"
#include "catalog/pg_class.h"
#include "catalog/namespace.h"

#include "util/spi.h"

ZdmArg
zdm_arg_text(const char *value)
{
	return value ? ZDM_ARG(TEXTOID, CStringGetTextDatum(value)) : ZDM_NULL(TEXTOID);
}

ZdmArg
zdm_arg_name(const char *value)
{
	Name		copy = palloc0(sizeof(NameData));

	namestrcpy(copy, value);
	return ZDM_ARG(NAMEOID, NameGetDatum(copy));
}

static ZdmArg
string_array(List *strings, Oid element, Oid array)
{
	int			n = list_length(strings);
	Datum	   *elems = palloc_array(Datum, n + 1);
	bool	   *nulls = palloc0_array(bool, n + 1);
	int			dims[1] = {n};
	int			lbs[1] = {1};
	int16		len;
	bool		byval;
	char		align;
	ListCell   *lc;

	get_typlenbyvalalign(element, &len, &byval, &align);
	foreach(lc, strings)
	{
		int			i = foreach_current_index(lc);

		if (lfirst(lc) == NULL)
			nulls[i] = true;
		else
			elems[i] = (element == NAMEOID ? zdm_arg_name(lfirst(lc))
						: zdm_arg_text(lfirst(lc))).value;
	}
	return ZDM_ARG(array,
				   PointerGetDatum(construct_md_array(elems, nulls, 1, dims, lbs,
													  element, len, byval, align)));
}

ZdmArg
zdm_arg_names(List *names)
{
	return string_array(names, NAMEOID, NAMEARRAYOID);
}

/* Like zdm_arg_names() for text; a NULL cell is an SQL NULL. */
ZdmArg
zdm_arg_texts(List *texts)
{
	return string_array(texts, TEXTOID, TEXTARRAYOID);
}

/*
 * The elements of a name[] or text[] as C strings in the current context; an
 * SQL NULL is a NULL cell.
 */
List *
zdm_strings_from_array(Datum array)
{
	ArrayType  *arr = DatumGetArrayTypeP(array);
	Oid			element = ARR_ELEMTYPE(arr);
	Datum	   *elems;
	bool	   *nulls;
	int			n;
	int16		len;
	bool		byval;
	char		align;
	List	   *result = NIL;

	Assert(element == NAMEOID || element == TEXTOID);
	get_typlenbyvalalign(element, &len, &byval, &align);
	deconstruct_array(arr, element, len, byval, align, &elems, &nulls, &n);
	for (int i = 0; i < n; i++)
	{
		if (nulls[i])
			result = lappend(result, NULL);
		else if (element == NAMEOID)
			result = lappend(result, pstrdup(NameStr(*DatumGetName(elems[i]))));
		else
			result = lappend(result, TextDatumGetCString(elems[i]));
	}
	return result;
}

/*
 * The elements of an oid[] or regclass[], without the NULLs.
 */
List *
zdm_oids_from_array(Datum array)
{
	ArrayType  *arr = DatumGetArrayTypeP(array);
	Datum	   *elems;
	bool	   *nulls;
	int			count;
	List	   *result = NIL;

	Assert(ARR_ELEMTYPE(arr) == OIDOID || ARR_ELEMTYPE(arr) == REGCLASSOID);
	deconstruct_array(arr, ARR_ELEMTYPE(arr), sizeof(Oid), true, TYPALIGN_INT,
					  &elems, &nulls, &count);
	for (int i = 0; i < count; i++)
		if (!nulls[i])
			result = lappend_oid(result, DatumGetObjectId(elems[i]));
	return result;
}

/*
 * Change a setting up to the end of the current nest level (GUC_ACTION_SAVE)
 * or transaction (GUC_ACTION_LOCAL), also one that the user may not change:
 * the callers use it only for what makes zdm itself gentler.
 */
void
zdm_set_config(const char *setting, const char *value, int action)
{
	(void) set_config_option(setting, value, PGC_SUSET, PGC_S_SESSION,
							 (GucAction) action, true, 0, false);
}

void
zdm_set_local(const char *setting, const char *value)
{
	zdm_set_config(setting, value, GUC_ACTION_LOCAL);
}

/*
 * Put pg_catalog (and, for nothing but types and tables, pg_temp, last) on
 * the path, and nothing else, until zdm_unbecome().
 */
void
zdm_pin_path(ZdmIdentity *saved)
{
	GetUserIdAndSecContext(&saved->user, &saved->security);
	saved->guc_level = NewGUCNestLevel();
	zdm_set_config("search_path", "pg_catalog, pg_temp", GUC_ACTION_SAVE);
}

/*
 * In addition to a pinned path: what decides how constants in an expression
 * are written and read, so that a text means the same in every session.
 */
void
zdm_pin_style(void)
{
	zdm_set_config("DateStyle", "ISO, YMD", GUC_ACTION_SAVE);
	zdm_set_config("IntervalStyle", "postgres", GUC_ACTION_SAVE);
	zdm_set_config("extra_float_digits", "1", GUC_ACTION_SAVE);
	zdm_set_config("bytea_output", "hex", GUC_ACTION_SAVE);
	zdm_set_config("transform_null_equals", "off", GUC_ACTION_SAVE);
}

/*
 * Act as the role, the way index maintenance acts as a table's owner.  Row
 * security that is forced on the owner does not hide rows from a migration.
 */
void
zdm_become(Oid role, ZdmIdentity *saved)
{
	zdm_pin_path(saved);
	SetUserIdAndSecContext(role, saved->security |
						   SECURITY_RESTRICTED_OPERATION |
						   SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
}

/*
 * Settings that code of the role has changed meanwhile are rolled back.
 */
void
zdm_unbecome(ZdmIdentity *saved)
{
	AtEOXact_GUC(false, saved->guc_level);
	SetUserIdAndSecContext(saved->user, saved->security);
}

/*
 * The oid of one of zdm's own tables.
 */
Oid
zdm_catalog_table(const char *name)
{
	return get_relname_relid(name, get_namespace_oid("zdm", false));
}

/*
 * Open an SPI connection as the owner of zdm's catalog.
 */
void
zdm_catalog_begin(ZdmIdentity *saved)
{
	HeapTuple	tuple = SearchSysCache1(RELOID,
										ObjectIdGetDatum(zdm_catalog_table("migration")));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				errcode(ERRCODE_UNDEFINED_TABLE),
				errmsg("zdm's catalog does not exist in this database"),
				errhint("Run CREATE EXTENSION zdm;"));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	zdm_pin_path(saved);
	SetUserIdAndSecContext(owner,
						   saved->security | SECURITY_LOCAL_USERID_CHANGE);
}

void
zdm_catalog_end(ZdmIdentity *saved)
{
	zdm_unbecome(saved);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * Run one statement and check what kind of result it gave.  Returns the
 * number of rows; they are in SPI_tuptable until the connection ends.
 */
uint64
zdm_execute(int expected, const char *sql, int nargs, ZdmArg *args)
{
	Oid		   *types = palloc_array(Oid, nargs + 1);
	Datum	   *values = palloc_array(Datum, nargs + 1);
	char	   *nulls = palloc_array(char, nargs + 1);
	int			code;

	for (int i = 0; i < nargs; i++)
	{
		types[i] = args[i].type;
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
	code = SPI_execute_with_args(sql, nargs, types, values, nulls, false, 0);
	if (code != expected)
		elog(ERROR, "unexpected result %s of \"%s\"",
			 SPI_result_code_string(code), sql);
	return SPI_processed;
}

/*
 * The same with a plan that is kept in a static variable of the caller's, for
 * statements that run once a batch.  The path that it was made under is the
 * one that it runs under: zdm_catalog_begin() pins both.
 */
uint64
zdm_execute_kept(SPIPlanPtr *plan, int expected, const char *sql,
				 int nargs, ZdmArg *args)
{
	Datum	   *values = palloc_array(Datum, nargs + 1);
	char	   *nulls = palloc_array(char, nargs + 1);
	int			code;

	if (*plan == NULL)
	{
		Oid		   *types = palloc_array(Oid, nargs + 1);
		SPIPlanPtr	made;

		for (int i = 0; i < nargs; i++)
			types[i] = args[i].type;
		made = SPI_prepare(sql, nargs, types);
		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare \"%s\"", sql);
		*plan = made;
	}
	for (int i = 0; i < nargs; i++)
	{
		values[i] = args[i].value;
		nulls[i] = args[i].isnull ? 'n' : ' ';
	}
	code = SPI_execute_plan(*plan, values, nulls, false, 0);
	if (code != expected)
		elog(ERROR, "unexpected result %s of \"%s\"",
			 SPI_result_code_string(code), sql);
	return SPI_processed;
}

/*
 * Let no constraint trigger wait for the commit: it would fire with the
 * session's rights instead of those that the work is done with.
 */
void
zdm_set_constraints_immediate(void)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	zdm_execute(SPI_OK_UTILITY, "SET CONSTRAINTS ALL IMMEDIATE", 0, NULL);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * Run a DDL statement as the caller, under a pinned path.
 */
void
zdm_execute_ddl(const char *sql)
{
	ZdmIdentity saved;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	zdm_pin_path(&saved);
	zdm_pin_style();
	zdm_execute(SPI_OK_UTILITY, sql, 0, NULL);
	zdm_unbecome(&saved);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
}

/*
 * The same as the owner of what it is about, who may be somebody else: what the
 * caller owns, he owns through a role perhaps.
 */
void
zdm_execute_ddl_as(Oid role, const char *sql)
{
	ZdmIdentity saved;

	zdm_become(role, &saved);
	zdm_execute_ddl(sql);
	zdm_unbecome(&saved);
}

/*
 * Run a query as the caller, under a pinned path and style, as what it returns
 * may be SQL that is run so; the first column of its result as C strings.
 */
List *
zdm_query_strings(const char *sql, int nargs, ZdmArg *args)
{
	MemoryContext cxt = CurrentMemoryContext;
	ZdmIdentity saved;
	List	   *result = NIL;
	uint64		rows;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	zdm_pin_path(&saved);
	zdm_pin_style();
	rows = zdm_execute(SPI_OK_SELECT, sql, nargs, args);
	for (uint64 row = 0; row < rows; row++)
	{
		char	   *text = zdm_result_text(cxt, row, 1);
		MemoryContext old = MemoryContextSwitchTo(cxt);

		result = lappend(result, text);
		MemoryContextSwitchTo(old);
	}
	zdm_unbecome(&saved);
	if (SPI_finish() != SPI_OK_FINISH)
		elog(ERROR, "SPI_finish failed");
	return result;
}

/*
 * What a query has found, where that are oids.
 */
List *
zdm_oids(List *texts)
{
	List	   *result = NIL;
	ListCell   *lc;

	foreach(lc, texts)
		result = lappend_oid(result, (Oid) strtoul(lfirst(lc), NULL, 10));
	return result;
}

Datum
zdm_result(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc,
						 column, isnull);
}

/* A value's text form in the given context, NULL for an SQL NULL. */
char *
zdm_result_text(MemoryContext cxt, uint64 row, int column)
{
	char	   *value = SPI_getvalue(SPI_tuptable->vals[row],
									 SPI_tuptable->tupdesc, column);

	return value ? MemoryContextStrdup(cxt, value) : NULL;
}

static bool
attempt_in_subtransaction(ZdmAttempt attempt, void *arg, bool keep,
						  ErrorData **error)
{
	MemoryContext cxt = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool ok = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(cxt);
	PG_TRY();
	{
		attempt(arg);
		if (keep)
			ReleaseCurrentSubTransaction();
		else
			RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *edata;

		MemoryContextSwitchTo(cxt);
		edata = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(cxt);
		CurrentResourceOwner = owner;
		if (edata->sqlerrcode == ERRCODE_QUERY_CANCELED ||
			ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION ||
			ERRCODE_TO_CATEGORY(edata->sqlerrcode) == ERRCODE_INSUFFICIENT_RESOURCES)
			ReThrowError(edata);
		*error = edata;
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(cxt);
	CurrentResourceOwner = owner;
	return ok;
}

/*
 * Call a function in a subtransaction of its own.  Returns false, with the
 * error in the caller's context, where it raised one; what it did is then
 * undone.  A cancel, a shutdown, or anything else that is not the attempt's
 * own fault is passed on.
 */
bool
zdm_attempt(ZdmAttempt attempt, void *arg, ErrorData **error)
{
	return attempt_in_subtransaction(attempt, arg, true, error);
}

/*
 * The same for one that only looks: the locks that it took are given back.
 */
bool
zdm_question(ZdmAttempt attempt, void *arg, ErrorData **error)
{
	return attempt_in_subtransaction(attempt, arg, false, error);
}
