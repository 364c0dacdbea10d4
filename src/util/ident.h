/*-------------------------------------------------------------------------
 *
 * ident.h
 *	  Quoting and generated names.
 *
 * Every name that reaches an SQL text goes through here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_IDENT_H
#define ZDM_IDENT_H

#include "nodes/pg_list.h"

/* Sorts after every letter, so that it fires last. */
#define ZDM_SYNC_TRIGGER "~zdm_sync"

/* The triggers of two tables that mirror each other. */
#define ZDM_MIRROR_TRIGGER "~zdm_mirror"
#define ZDM_MIRROR_LOCK_TRIGGER "~zdm_mirror_lock"
#define ZDM_MIRROR_ORDER_TRIGGER "~zdm_mirror_order"
#define ZDM_MIRROR_TRUNCATE_TRIGGER "~zdm_mirror_truncate"

/* Where a relation is, or is to be. */
typedef struct ZdmPlace
{
	char	   *schema;
	char	   *name;
} ZdmPlace;

extern char *zdm_quote_relation(Oid relid);
extern ZdmPlace zdm_relation_place(Oid relid);
extern char *zdm_quote_place(ZdmPlace place);
extern char *zdm_relation_label(Oid relid);
extern char *zdm_default_name(const char *format,...) pg_attribute_printf(1, 2);
extern char *zdm_hidden_name(const char *name);
extern char *zdm_names_text(List *names);
extern char *zdm_column_list(List *columns);
extern char *zdm_join(List *texts, const char *separator);
extern char *zdm_lines(List *texts);
extern char *zdm_some_lines(List *texts, int most);
extern bool zdm_is_among(List *texts, const char *text);
extern void zdm_check_names(List *names, const char *argument);
extern List *zdm_relation_name(const char *text, const char *argument);

#endif							/* ZDM_IDENT_H */
