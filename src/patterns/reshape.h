/*-------------------------------------------------------------------------
 *
 * reshape.h
 *	  Columns of one shape made of those of another, by expressions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_PATTERNS_RESHAPE_H
#define ZDM_PATTERNS_RESHAPE_H

#include "patterns/pattern.h"

/*
 * What a call says: as the user wrote it, one for each of the migration's new
 * (types, up) or old columns (down).
 */
typedef struct ZdmReshape
{
	List	   *types;			/* of char * */
	List	   *up;
	List	   *down;
	List	   *up_names;		/* how errors call the expressions */
	List	   *down_names;
	List	   *initial;		/* the new columns' defaults, NULL for none */
	List	   *initial_names;
	List	   *mandatory;		/* new columns that are to be NOT NULL */
} ZdmReshape;

extern void zdm_reshape_check(ZdmMigration *migration, Relation rel,
							  ZdmReshape *reshape);
extern List *zdm_reshape_expand(ZdmMigration *migration, Relation rel,
								ZdmReshape *reshape);
extern List *zdm_reshape_notes(ZdmMigration *migration, Relation rel,
							   ZdmReshape *reshape);
extern List *zdm_reshape_migrate(ZdmMigration *migration);
extern List *zdm_reshape_contract(ZdmMigration *migration, bool quarantine);
extern List *zdm_reshape_finish(ZdmMigration *migration);
extern List *zdm_reshape_rollback(ZdmMigration *migration);
extern List *zdm_reshape_attached(ZdmMigration *migration, ZdmPhase phase,
								  ZdmReshape *reshape);
extern List *zdm_reshape_statements(ZdmMigration *migration);
extern List *zdm_reshape_take_back(ZdmMigration *migration);
extern List *zdm_reshape_follow(ZdmMigration *migration, const ZdmDdl *ddl);
extern List *zdm_reshape_twins(ZdmMigration *migration);
extern void zdm_reshape_guard(ZdmMigration *migration, Relation rel);

#endif							/* ZDM_PATTERNS_RESHAPE_H */
