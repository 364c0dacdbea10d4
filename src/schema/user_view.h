/*-------------------------------------------------------------------------
 *
 * user_view.h
 *	  Views and rules of users that are over a column whose type changes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_SCHEMA_USER_VIEW_H
#define ZDM_SCHEMA_USER_VIEW_H

#include "catalog/step.h"
#include "schema/retype.h"
#include "schema/twin_constraint.h"

extern List *zdm_user_views(List *pairs);
extern List *zdm_user_rules(List *pairs, List *views);
extern List *zdm_user_view_relations(List *pairs);
extern char *zdm_user_views_text(List *pairs);
extern List *zdm_user_view_limits(List *pairs, const ZdmType *type, bool moved,
								  const char *kept, List *result);
extern List *zdm_user_view_drop_steps(List *pairs);
extern List *zdm_user_view_create_steps(List *pairs, const char *kept);
extern ZdmStep *zdm_user_view_keep_step(List *pairs);

/* The argument of a migration that has them. */
#define ZDM_KEPT_VIEWS "_views"
#define ZDM_NO_KEPT_VIEWS "[]"

/*
 * The text of a rule, or, without what stands before its SELECT, of a view's
 * rule, by its row r in pg_rewrite; kept is the parameter with those that were
 * kept (jsonb, as text).
 */
#define ZDM_RULE_TEXT \
	"CASE r.rulename WHEN '_RETURN' THEN pg_catalog.pg_get_viewdef(r.ev_class)" \
	" ELSE pg_catalog.pg_get_ruledef(r.oid) END"
#define ZDM_KEPT_TEXT(kept) \
	"coalesce((SELECT k.before FROM pg_catalog.jsonb_to_recordset(" kept "::pg_catalog.jsonb)" \
	" k(relation pg_catalog.text, rule pg_catalog.text, before pg_catalog.text, after pg_catalog.text)" \
	" WHERE k.relation = r.ev_class::pg_catalog.regclass::pg_catalog.text AND k.rule = r.rulename" \
	" AND k.after = " ZDM_RULE_TEXT "), " ZDM_RULE_TEXT ")"

#endif							/* ZDM_SCHEMA_USER_VIEW_H */
