/*
 * The views.  Each shows a user what concerns the tables whose owner's rights
 * he has, and, once a table is gone, what he did himself; members of pg_monitor see everything.  They call functions of
 * pg_catalog alone, so a superuser may read them.
 */

CREATE VIEW zdm.progress WITH (security_barrier) AS
WITH locks AS MATERIALIZED (
        SELECT l.pid, l.granted, l.waitstart,
               CASE WHEN l.classid = 'zdm.backfill_range'::regclass AND l.locktype = 'object'
                     AND l.database = (SELECT d.oid FROM pg_database d
                                        WHERE d.datname = current_database())
                    THEN l.objid END AS migration
          FROM pg_locks l)
SELECT m.name AS migration,
       m.relation,
       m.state,
       coalesce(r.rows_done, 0)::bigint AS rows_done,
       greatest(r.rows_done, s.rows_total)::bigint AS rows_total,
       coalesce(r.blocks_done, 0)::bigint AS blocks_done,
       coalesce(r.blocks_total, 0)::bigint AS blocks_total,
       round((r.rows_done - k.rows)
             / nullif(extract(epoch FROM clock_timestamp() - k.at), 0))::bigint AS rows_per_second,
       CASE WHEN r.blocks_done > k.blocks
            THEN (clock_timestamp() - k.at)
                 * ((r.blocks_total - r.blocks_done) / (r.blocks_done - k.blocks))::double precision
       END AS eta,
       n.workers,
       r.batch_blocks,
       CASE WHEN n.workers > 0 THEN coalesce(b.waiting_for, m.waiting_for) END AS waiting_for,
       CASE WHEN n.workers > 0 THEN coalesce(b.since, m.waiting_since) END AS waiting_since
  FROM zdm.migration m
  JOIN pg_class c ON c.oid = m.relation
  LEFT JOIN LATERAL (
        SELECT sum(b.rows_done) AS rows_done,
               sum(b.next_block - b.first_block) AS blocks_done,
               sum(b.end_block - b.first_block) AS blocks_total,
               (array_agg(b.batch_blocks ORDER BY b.changed_at DESC NULLS LAST))[1] AS batch_blocks
          FROM zdm.backfill_range b WHERE b.migration_id = m.id AND NOT b.compared_only) r ON true
  LEFT JOIN LATERAL (
        SELECT sum(greatest(p.reltuples, 0))::bigint AS rows_total
          FROM zdm.backfill_range b
          JOIN pg_class p ON p.oid = b.relation
         WHERE b.migration_id = m.id AND b.first_block = 0 AND NOT b.compared_only) s ON true
  LEFT JOIN LATERAL (
        SELECT u.at, u.rows, u.blocks
          FROM unnest(m.sampled_at, m.sampled_rows, m.sampled_blocks) u(at, rows, blocks)
         WHERE m.state = 'expanded' AND u.at > clock_timestamp() - interval '12 s'
         ORDER BY u.at LIMIT 1) k ON true
  CROSS JOIN LATERAL (
        SELECT count(DISTINCT l.pid)::integer AS workers
          FROM locks l WHERE l.migration = m.id::oid) n
  LEFT JOIN LATERAL (
        SELECT w.waitstart AS since,
               (SELECT string_agg(CASE WHEN u.pid = 0 THEN 'a prepared transaction: see pg_prepared_xacts'
                                       ELSE format('pid %s, user %s, application "%s", %s, in transaction since %s',
                                                   u.pid, coalesce(a.usename, a.backend_type), a.application_name,
                                                   a.state, a.xact_start) END, '; ' ORDER BY u.pid)
                  FROM unnest(pg_blocking_pids(w.pid)) u(pid)
                  LEFT JOIN pg_stat_activity a ON a.pid = u.pid) AS waiting_for
          FROM locks w
         WHERE NOT w.granted AND w.waitstart < clock_timestamp() - interval '1 s'
           AND w.pid IN (SELECT l.pid FROM locks l WHERE l.migration = m.id::oid)
         ORDER BY w.waitstart LIMIT 1) b ON true
 WHERE m.state IN ('expanded', 'ready', 'contracted')
   AND (pg_has_role(c.relowner, 'USAGE') OR pg_has_role('pg_monitor', 'USAGE'));
COMMENT ON VIEW zdm.progress IS
'the backfill of each migration in flight: rows and heap blocks done and in all (rows in all is the planner''s estimate), rows a second over the last ten seconds, time left at that rate, background workers and sessions at work, heap blocks in the last batch, and what it waits for since when';

CREATE VIEW zdm.status WITH (security_barrier) AS
SELECT m.name AS migration,
       m.pattern,
       m.relation,
       m.state,
       CASE WHEN m.state <> 'expanded' THEN 100.0
            WHEN p.blocks_total = 0 THEN 0.0
            ELSE round(100.0 * p.blocks_done / p.blocks_total, 1)
       END AS progress,
       p.waiting_for,
       m.last_error,
       m.quarantine_until,
       CASE m.state
            WHEN 'expanded' THEN
                 format(CASE WHEN m.paused THEN 'SELECT zdm.resume(%L)'
                             WHEN p.workers > 0 THEN 'CALL zdm.wait(%L)'
                             WHEN m.workers > 1 THEN 'SELECT zdm.start(%L, workers => %s)'
                             ELSE 'SELECT zdm.start(%L)' END, m.name, m.workers)
            WHEN 'ready' THEN
                 format(CASE WHEN m.arguments ? '_rolling_back' THEN 'SELECT zdm.rollback(%L)'
                             ELSE 'SELECT zdm.contract(%L)' END, m.name)
            WHEN 'contracted' THEN format('SELECT zdm.finish(%L)', m.name)
       END AS next_command,
       m.created_at
  FROM zdm.migration m
  JOIN zdm.progress p ON p.migration = m.name
 WHERE m.state IN ('expanded', 'ready', 'contracted');
COMMENT ON VIEW zdm.status IS
'one line a migration in flight: its state, progress in per cent, last error, and the next command to run';

CREATE VIEW zdm.steps WITH (security_barrier) AS
SELECT m.name AS migration, s.step, s.phase, s.description, s.sql,
       s.lock_mode, s.relation, s.state, s.started_at, s.finished_at,
       s.lock_wait, s.error, m.id AS migration_id
  FROM zdm.step s
  JOIN zdm.migration m ON m.id = s.migration_id
  LEFT JOIN pg_class c ON c.oid = m.relation
 WHERE coalesce(pg_has_role(c.relowner, 'USAGE'), m.created_by = session_user)
    OR pg_has_role('pg_monitor', 'USAGE')
 ORDER BY s.migration_id, s.step;
COMMENT ON VIEW zdm.steps IS
'the steps of every migration, in flight and ended, with their SQL, lock mode, times, and how long each waited for its lock';

CREATE VIEW zdm.events WITH (security_barrier) AS
SELECT e.migration, e.at, e.level, e.event, e.detail, e.role, e.relation,
       e.migration_id, e.id
  FROM zdm.event e
  LEFT JOIN pg_class c ON c.oid = e.relation
 WHERE coalesce(pg_has_role(c.relowner, 'USAGE'), e.role = session_user)
    OR pg_has_role('pg_monitor', 'USAGE')
 ORDER BY e.id;
COMMENT ON VIEW zdm.events IS
'the log of all migrations, in flight and ended';


COMMENT ON COLUMN zdm.status.migration IS 'name of the migration';
COMMENT ON COLUMN zdm.status.pattern IS 'kind of change';
COMMENT ON COLUMN zdm.status.relation IS 'the table it changes';
COMMENT ON COLUMN zdm.status.state IS 'expanded, ready or contracted';
COMMENT ON COLUMN zdm.status.progress IS 'per cent of the heap blocks that the backfill has visited';
COMMENT ON COLUMN zdm.status.waiting_for IS 'what the backfill waits for, and for whom; NULL where it does not wait';
COMMENT ON COLUMN zdm.status.last_error IS 'what stopped the last backfill; NULL where nothing did';
COMMENT ON COLUMN zdm.status.quarantine_until IS 'when the quarantine ends; NULL where there is none';
COMMENT ON COLUMN zdm.status.next_command IS 'the command to run next';
COMMENT ON COLUMN zdm.status.created_at IS 'when expand was called';

COMMENT ON COLUMN zdm.progress.migration IS 'name of the migration';
COMMENT ON COLUMN zdm.progress.relation IS 'the table it changes';
COMMENT ON COLUMN zdm.progress.state IS 'expanded, ready or contracted';
COMMENT ON COLUMN zdm.progress.rows_done IS 'rows visited';
COMMENT ON COLUMN zdm.progress.rows_total IS 'rows in all: the planners estimate, never below rows_done';
COMMENT ON COLUMN zdm.progress.blocks_done IS 'heap blocks visited';
COMMENT ON COLUMN zdm.progress.blocks_total IS 'heap blocks to visit in all';
COMMENT ON COLUMN zdm.progress.rows_per_second IS 'rows visited in a second, over the last ten; NULL where nobody is at work';
COMMENT ON COLUMN zdm.progress.eta IS 'time left at the rate of the last ten seconds';
COMMENT ON COLUMN zdm.progress.workers IS 'background workers and sessions that run the migration now';
COMMENT ON COLUMN zdm.progress.batch_blocks IS 'heap blocks in the batch that was stored last';
COMMENT ON COLUMN zdm.progress.waiting_for IS 'what the backfill waits for, and for whom; NULL where it does not wait';
COMMENT ON COLUMN zdm.progress.waiting_since IS 'since when it waits';

COMMENT ON COLUMN zdm.steps.migration IS 'name of the migration';
COMMENT ON COLUMN zdm.steps.step IS 'number of the step, in the order of the phases as they were entered';
COMMENT ON COLUMN zdm.steps.phase IS 'expand, migrate, contract, finish or rollback';
COMMENT ON COLUMN zdm.steps.description IS 'what the step does';
COMMENT ON COLUMN zdm.steps.sql IS 'what was run, or what the step is equivalent to';
COMMENT ON COLUMN zdm.steps.lock_mode IS 'lock on the table';
COMMENT ON COLUMN zdm.steps.relation IS 'the table';
COMMENT ON COLUMN zdm.steps.state IS 'pending, running, done or failed';
COMMENT ON COLUMN zdm.steps.started_at IS 'when it was begun first';
COMMENT ON COLUMN zdm.steps.finished_at IS 'when it ended';
COMMENT ON COLUMN zdm.steps.lock_wait IS 'how long it took to get the phases locks; on the phases first step';
COMMENT ON COLUMN zdm.steps.error IS 'why it failed';
COMMENT ON COLUMN zdm.steps.migration_id IS 'number of the migration: names may be used again';

COMMENT ON COLUMN zdm.events.migration IS 'name of the migration';
COMMENT ON COLUMN zdm.events.at IS 'when it happened';
COMMENT ON COLUMN zdm.events.level IS 'info, warning or error';
COMMENT ON COLUMN zdm.events.event IS 'what happened';
COMMENT ON COLUMN zdm.events.detail IS 'the sentence to it: a key, an error, whom it waited for';
COMMENT ON COLUMN zdm.events.role IS 'the sessions user';
COMMENT ON COLUMN zdm.events.relation IS 'the table';
COMMENT ON COLUMN zdm.events.migration_id IS 'number of the migration: names may be used again';
COMMENT ON COLUMN zdm.events.id IS 'number of the event';

GRANT SELECT ON zdm.progress, zdm.status, zdm.steps, zdm.events TO PUBLIC;
