/*-------------------------------------------------------------------------
 *
 * spi.h
 *	  Checked SQL, with the identity and the search_path it runs under.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SPI_H
#define ZDM_SPI_H

#include "executor/spi.h"
#include "utils/elog.h"

/* What zdm_become() and its like changed, for zdm_unbecome() to put back. */
typedef struct ZdmIdentity
{
	Oid			user;
	int			security;
	int			guc_level;
} ZdmIdentity;

/* A query argument. */
typedef struct ZdmArg
{
	Oid			type;
	Datum		value;
	bool		isnull;
} ZdmArg;

#define ZDM_ARG(t, v)	((ZdmArg) {.type = (t), .value = (v)})
#define ZDM_NULL(t)		((ZdmArg) {.type = (t), .isnull = true})
#define ZDM_ARGS(...)	lengthof(((ZdmArg[]) {__VA_ARGS__})), \
	((ZdmArg[]) {__VA_ARGS__})

extern ZdmArg zdm_arg_text(const char *value);
extern ZdmArg zdm_arg_name(const char *value);
extern ZdmArg zdm_arg_names(List *names);
extern ZdmArg zdm_arg_texts(List *texts);
extern List *zdm_strings_from_array(Datum array);
extern List *zdm_oids_from_array(Datum array);

extern void zdm_pin_path(ZdmIdentity *saved);
extern void zdm_pin_style(void);
extern void zdm_become(Oid role, ZdmIdentity *saved);
extern void zdm_unbecome(ZdmIdentity *saved);

extern void zdm_set_local(const char *setting, const char *value);
extern void zdm_set_config(const char *setting, const char *value, int action);

extern Oid	zdm_catalog_table(const char *name);
extern void zdm_catalog_begin(ZdmIdentity *saved);
extern void zdm_catalog_end(ZdmIdentity *saved);
extern uint64 zdm_execute(int expected, const char *sql,
						  int nargs, ZdmArg *args);
extern uint64 zdm_execute_kept(SPIPlanPtr *plan, int expected,
							   const char *sql, int nargs, ZdmArg *args);
extern void zdm_set_constraints_immediate(void);
extern void zdm_execute_ddl(const char *sql);
extern void zdm_execute_ddl_as(Oid role, const char *sql);

extern List *zdm_query_strings(const char *sql, int nargs, ZdmArg *args);
extern List *zdm_oids(List *texts);

extern Datum zdm_result(uint64 row, int column, bool *isnull);
extern char *zdm_result_text(MemoryContext cxt, uint64 row, int column);

typedef void (*ZdmAttempt) (void *arg);
extern bool zdm_attempt(ZdmAttempt attempt, void *arg, ErrorData **error);
extern bool zdm_question(ZdmAttempt attempt, void *arg, ErrorData **error);

#endif							/* ZDM_SPI_H */
