/*-------------------------------------------------------------------------
 *
 * statement.h
 *	  Statements that manage transactions of their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_STATEMENT_H
#define ZDM_STATEMENT_H

#include "nodes/nodes.h"
#include "nodes/pg_list.h"
#include "storage/lockdefs.h"
#include "tcop/cmdtag.h"

/*
 * Indexes are made and dropped by oid, whatever their names have come to mean
 * by then; other commands have a tree alone.
 *
 * In a context that outlives the transactions of the statement.
 */
typedef struct ZdmStatement
{
	Node	   *tree;			/* of a utility command */
	Oid			indexed;		/* CREATE INDEX: the table */
	Oid			dropped;		/* DROP INDEX: the index */
	Oid			altered;		/* DDL, in one transaction: the table ... */
	List	   *with;			/* ... further ones (oids) ... */
	LOCKMODE	lock;			/* ... and the lock on them */
	List	   *with_read;		/* others (oids), which it only reads */
	void		(*then) (void *arg);	/* what else is done in it, or NULL
										 * ... */
	void	   *then_arg;
	char	   *sql;			/* what others see in pg_stat_activity */
	CommandTag	tag;
} ZdmStatement;

extern ZdmStatement *zdm_statement_drop_index(Oid index);
extern ZdmStatement *zdm_statement_parse(const char *sql);
extern void zdm_statement_run(ZdmStatement *statement);

#endif							/* ZDM_STATEMENT_H */
