/*-------------------------------------------------------------------------
 *
 * expression.h
 *	  Expressions over the columns of one table: up, down, fill.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SYNC_EXPRESSION_H
#define ZDM_SYNC_EXPRESSION_H

#include "nodes/primnodes.h"
#include "utils/rel.h"

extern Node *zdm_expression_parse(Relation rel, const char *text,
								  const char *argument, AttrNumber target);
extern Node *zdm_expression_parse_for(Relation rel, const char *sql,
									  const char *argument, Form_pg_attribute attr);
extern List *zdm_expression_columns(Relation rel, const char *sql);
extern char *zdm_expression_check(Relation rel, const char *text,
								  const char *argument, const char *target,
								  List *allowed);
extern Node *zdm_expression_parse_as(TupleDesc desc, const char *sql,
									 const char *argument, AttrNumber target);
extern Node *zdm_expression_check_as(TupleDesc desc, const char *sql,
									 const char *argument, AttrNumber target,
									 List *allowed);
extern char *zdm_expression_text(TupleDesc desc, Node *expr);
extern char *zdm_default_text(Node *expr);
extern char *zdm_expression_check_fill(Relation rel, const char *sql,
									   const char *argument,
									   Form_pg_attribute attr);

#endif							/* ZDM_SYNC_EXPRESSION_H */
