/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Settings.  Units as declared in guc.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_GUC_H
#define ZDM_GUC_H

extern int	zdm_lock_patience;	/* ms */
extern int	zdm_lock_wait;		/* ms */
extern int	zdm_batch_target;	/* ms */
extern double zdm_backfill_pause;	/* share of the batch's time */
extern int	zdm_quarantine;		/* s */
extern bool zdm_fire_user_triggers;

extern void zdm_define_gucs(void);

#endif							/* ZDM_GUC_H */
