/*-------------------------------------------------------------------------
 *
 * guc.h
 *	  Settings.  Units as declared in guc.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_GUC_H
#define ZDM_GUC_H

#define ZDM_MAX_WORKERS 64

extern int	zdm_lock_patience;	/* ms */
extern int	zdm_lock_wait;		/* ms */
extern int	zdm_batch_target;	/* ms */
extern double zdm_backfill_pause;	/* share of the batch's time */
extern int	zdm_quarantine;		/* s */
extern bool zdm_fire_user_triggers;
extern int	zdm_max_replication_lag;	/* ms, 0: off */
extern int	zdm_max_archive_backlog;	/* MB, 0: off */
extern int	zdm_max_wal_rate;	/* kB per second, 0: off */
extern double zdm_vacuum_after; /* per cent of the rows, 0: off */
extern int	zdm_backfill_workers;
extern bool zdm_build_indexes;
extern bool zdm_auto_start;
extern bool zdm_ignore_mentions;
extern bool zdm_direct_views;
extern int	zdm_worker_patience;	/* ms */
extern int	zdm_launcher_naptime;	/* s */

/* Whether every backend has the library from its start. */
extern bool zdm_preloaded;

extern void zdm_define_gucs(void);

#endif							/* ZDM_GUC_H */
