/*
 * The catalog.
 *
 * Columns that point at database objects are regclass or name, never oid, so
 * that a dump taken in the middle of a migration continues elsewhere.  Roles
 * are kept by name as text: a restore must not fail for want of one.  The role
 * of a throttle query is to outlast a new name as well, so its number is
 * there, too, and counts in the cluster that is named beside it alone.  There
 * are no foreign keys between the tables: a parallel restore fills them in any
 * order.  Only the extension's own functions write here; users read the views.
 */

CREATE TABLE zdm.migration (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name name NOT NULL,
    pattern name NOT NULL,
    strategy name NOT NULL,
    relation regclass NOT NULL,
    old_columns name[] NOT NULL,
    new_columns name[] NOT NULL,
    state name NOT NULL DEFAULT 'expanded'
        CHECK (state IN ('expanded', 'ready', 'contracted', 'finished', 'rolled_back')),
    quarantine_until timestamptz,
    waiting_for text,
    waiting_since timestamptz,
    last_error text,
    created_by text NOT NULL DEFAULT session_user,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    workers integer CHECK (workers > 0),
    paused boolean NOT NULL DEFAULT false,
    throttle text,
    throttle_role text,
    fire_user_triggers boolean NOT NULL DEFAULT false,
    build_indexes boolean NOT NULL DEFAULT true,
    trigger_off boolean NOT NULL DEFAULT false,
    sampled_at timestamptz[] NOT NULL DEFAULT '{}',
    sampled_rows bigint[] NOT NULL DEFAULT '{}',
    sampled_blocks bigint[] NOT NULL DEFAULT '{}',
    others regclass[] NOT NULL DEFAULT '{}',
    arguments jsonb NOT NULL DEFAULT '{}',
    throttle_role_id bigint,
    throttle_cluster bigint
);
CREATE UNIQUE INDEX migration_in_flight ON zdm.migration (name)
    WHERE state IN ('expanded', 'ready', 'contracted');
CREATE INDEX migration_relation ON zdm.migration (relation);
COMMENT ON TABLE zdm.migration IS
'one row a migration, in flight or ended; read it through zdm.status';

CREATE TABLE zdm.step (
    migration_id bigint NOT NULL,
    step integer NOT NULL,
    phase name NOT NULL
        CHECK (phase IN ('expand', 'migrate', 'contract', 'finish', 'rollback')),
    description text NOT NULL,
    sql text,
    lock_mode text,
    relation regclass,
    state name NOT NULL DEFAULT 'pending'
        CHECK (state IN ('pending', 'running', 'done', 'failed')),
    started_at timestamptz,
    finished_at timestamptz,
    lock_wait interval,
    error text,
    PRIMARY KEY (migration_id, step)
);
COMMENT ON TABLE zdm.step IS
'one row a step of a migration: a record for people, never an input; read it through zdm.steps';

CREATE TABLE zdm.sync_rule (
    migration_id bigint NOT NULL,
    rule integer NOT NULL,
    relation regclass NOT NULL,
    old_columns name[] NOT NULL,
    new_columns name[] NOT NULL,
    up text[] NOT NULL,
    down text[] NOT NULL,
    down_or_null boolean NOT NULL DEFAULT false,
    kind name NOT NULL DEFAULT 'sync'
        CHECK (kind IN ('sync', 'fill', 'fill_older', 'fill_unnamed', 'compute')),
    CHECK (kind = 'sync' OR cardinality(old_columns) = 0),
    CHECK (cardinality(old_columns) = cardinality(down)),
    CHECK (cardinality(new_columns) = cardinality(up)),
    PRIMARY KEY (migration_id, rule)
);
CREATE INDEX sync_rule_relation ON zdm.sync_rule (relation);
COMMENT ON TABLE zdm.sync_rule IS
'what keeps the old and the new columns of a table equal, or fills a column, while a migration is in flight';

CREATE TABLE zdm.mirror_rule (
    migration_id bigint NOT NULL,
    rule integer NOT NULL,
    first_relation regclass NOT NULL,
    second_relation regclass NOT NULL,
    first_keys name[] NOT NULL,
    second_keys name[] NOT NULL,
    first_columns name[] NOT NULL,
    second_columns name[] NOT NULL,
    optional integer NOT NULL,
    fills_second boolean NOT NULL,
    referencing boolean NOT NULL,
    several boolean NOT NULL,
    first_by text,
    CHECK (cardinality(first_keys) = cardinality(second_keys)),
    CHECK (cardinality(first_columns) = cardinality(second_columns)),
    CHECK (optional BETWEEN 0 AND cardinality(first_columns)),
    PRIMARY KEY (migration_id, rule)
);
CREATE INDEX mirror_rule_first ON zdm.mirror_rule (first_relation);
CREATE INDEX mirror_rule_second ON zdm.mirror_rule (second_relation);
COMMENT ON TABLE zdm.mirror_rule IS
'what keeps rows of two tables equal while a migration is in flight';

CREATE TABLE zdm.mirror_difference (
    migration_id bigint NOT NULL,
    id bigint GENERATED ALWAYS AS IDENTITY,
    relation regclass NOT NULL,
    row_key text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (migration_id, id)
);
COMMENT ON TABLE zdm.mirror_difference IS
'writes that have left two tables different, which are compared before one of them goes';

CREATE TABLE zdm.backfill_range (
    migration_id bigint NOT NULL,
    relation regclass NOT NULL,
    first_block bigint NOT NULL,
    end_block bigint NOT NULL,
    next_block bigint NOT NULL,
    filenumber bigint NOT NULL,
    skipped tid[] NOT NULL DEFAULT '{}',
    rows_done bigint NOT NULL DEFAULT 0,
    rows_changed bigint NOT NULL DEFAULT 0,
    verified_block bigint NOT NULL,
    rows_compared bigint NOT NULL DEFAULT 0,
    mismatches bigint NOT NULL DEFAULT 0,
    batch_blocks integer,
    busy interval NOT NULL DEFAULT '0',
    changed_at timestamptz,
    compared_only boolean NOT NULL DEFAULT false,
    PRIMARY KEY (migration_id, relation, first_block)
);
COMMENT ON TABLE zdm.backfill_range IS
'runs of heap blocks that a backfill visits, each with the place it has come to, or whose rows are only compared; end_block and next_block are the first block behind';

CREATE TABLE zdm.event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration_id bigint NOT NULL,
    migration name NOT NULL,
    relation regclass,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    level name NOT NULL CHECK (level IN ('info', 'warning', 'error')),
    event name NOT NULL,
    detail text,
    role text NOT NULL DEFAULT session_user
);
CREATE INDEX event_migration ON zdm.event (migration_id);
COMMENT ON TABLE zdm.event IS
'the log of all migrations; read it through zdm.events';

SELECT pg_extension_config_dump('zdm.migration', '');
SELECT pg_extension_config_dump('zdm.migration_id_seq', '');
SELECT pg_extension_config_dump('zdm.step', '');
SELECT pg_extension_config_dump('zdm.sync_rule', '');
SELECT pg_extension_config_dump('zdm.mirror_rule', '');
SELECT pg_extension_config_dump('zdm.mirror_difference', '');
SELECT pg_extension_config_dump('zdm.mirror_difference_id_seq', '');
SELECT pg_extension_config_dump('zdm.backfill_range', '');
SELECT pg_extension_config_dump('zdm.event', '');
SELECT pg_extension_config_dump('zdm.event_id_seq', '');
