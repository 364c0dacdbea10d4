-- Who may do what: rules that each function, table and view keeps.

SELECT no_plan();
SET client_min_messages = warning;

CREATE ROLE regress_zdm_acl;

-- functions
SELECT isnt_definer('zdm', proname, oidvectortypes_list) FROM (
    SELECT proname, string_to_array(oidvectortypes(proargtypes), ', ') AS oidvectortypes_list
      FROM pg_proc WHERE pronamespace = 'zdm'::regnamespace ORDER BY proname) f;
-- these pin the path inside: two have to commit, five take the user's
-- expressions, one fires for each row
SELECT is(proconfig, CASE WHEN proname IN ('backfill', 'wait', 'explain', '_sync_columns', '_sync_row', '_guard_start', '_mirror',
                                               'change_column_type', 'split_column', 'merge_columns',
                                               'add_column', 'set_not_null', 'drop_column') THEN NULL
                          ELSE ARRAY['search_path=pg_catalog, pg_temp'] END,
          format('search_path of %s', proname))
  FROM pg_proc WHERE pronamespace = 'zdm'::regnamespace ORDER BY proname;
SELECT function_privs_are('zdm', proname, string_to_array(oidvectortypes(proargtypes), ', '), 'regress_zdm_acl',
                          CASE WHEN proname IN ('_guard', '_guard_start', '_skip_applied', '_sync_columns') THEN '{}' ELSE '{EXECUTE}' END::text[])
  FROM pg_proc WHERE pronamespace = 'zdm'::regnamespace ORDER BY proname;
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p, aclexplode(coalesce(proacl, acldefault('f', proowner)))
                   WHERE pronamespace = 'zdm'::regnamespace AND grantee NOT IN (0, proowner)$$,
                'no function is granted to anybody in particular');
SELECT is_superuser(rolname) FROM pg_roles WHERE oid IN (SELECT proowner FROM pg_proc WHERE pronamespace = 'zdm'::regnamespace);

-- tables, sequences, views
SELECT schema_privs_are('zdm', 'regress_zdm_acl', ARRAY['USAGE']);
SELECT table_privs_are('zdm', relname, 'regress_zdm_acl', '{}'::text[])
  FROM pg_class WHERE relnamespace = 'zdm'::regnamespace AND relkind = 'r' ORDER BY relname;
SELECT sequence_privs_are('zdm', relname, 'regress_zdm_acl', '{}'::text[])
  FROM pg_class WHERE relnamespace = 'zdm'::regnamespace AND relkind = 'S' ORDER BY relname;
SELECT table_privs_are('zdm', relname, 'regress_zdm_acl', ARRAY['SELECT'])
  FROM pg_class WHERE relnamespace = 'zdm'::regnamespace AND relkind = 'v' ORDER BY relname;
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute
                   WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'zdm'::regnamespace) AND attacl IS NOT NULL$$,
                'no privilege on a single column');
SELECT ok(coalesce(reloptions @> '{security_barrier=true}', false), format('view %s lets no condition see rows it hides', relname))
  FROM pg_class WHERE relnamespace = 'zdm'::regnamespace AND relkind = 'v' ORDER BY relname;

-- what a dump needs
SELECT ok(c.oid = ANY (extconfig), format('%s is dumped', c.oid::regclass))
  FROM pg_class c, pg_extension
 WHERE extname = 'zdm' AND relnamespace = 'zdm'::regnamespace AND relkind IN ('r', 'S') ORDER BY relname;
SELECT is_empty($$SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                   WHERE relnamespace = 'zdm'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0
                     AND atttypid IN ('oid'::regtype, 'regrole'::regtype, 'regproc'::regtype, 'xid'::regtype)$$,
                'no column holds a number that means something else after a restore');

-- each object has its sentence
SELECT ok(length(obj_description(oid, 'pg_proc')) > 30, format('%s has a comment', proname))
  FROM pg_proc WHERE pronamespace = 'zdm'::regnamespace ORDER BY proname;
SELECT ok(length(obj_description(oid, 'pg_class')) > 20, format('%s has a comment', relname))
  FROM pg_class WHERE relnamespace = 'zdm'::regnamespace AND relkind IN ('r', 'v') ORDER BY relname;
SELECT ok(length(obj_description(oid, 'pg_event_trigger')) > 20, format('%s has a comment', evtname))
  FROM pg_event_trigger WHERE evtname LIKE 'zdm%' ORDER BY evtname;
SELECT ok(length(obj_description(oid, 'pg_extension')) > 20, 'the extension has a comment') FROM pg_extension WHERE extname = 'zdm';
SELECT ok(length(obj_description('zdm'::regnamespace, 'pg_namespace')) > 20, 'the schema has a comment');

-- and in deed
CREATE TABLE mine (id integer, a text);
SELECT lives_ok($$SELECT zdm.rename_column('mine', 'a', 'b')$$);
SET ROLE regress_zdm_acl;
SELECT throws_ok(format('SELECT count(*) FROM zdm.%s', t), '42501', NULL, format('zdm.%s is not read', t))
  FROM unnest(ARRAY['migration', 'step', 'sync_rule', 'backfill_range', 'event']) t;
SELECT throws_ok(format('DELETE FROM zdm.%s', t), '42501', NULL, format('zdm.%s is not written', t))
  FROM unnest(ARRAY['migration', 'step', 'sync_rule', 'backfill_range', 'event']) t;
SELECT is_empty(format('SELECT * FROM zdm.%s', v), format('zdm.%s hides the tables of others', v))
  FROM unnest(ARRAY['status', 'progress', 'steps', 'events']) v;
SELECT throws_ok(format('SELECT zdm.%s(''rename_mine_a_to_b'')', f), '42501', NULL, format('zdm.%s asks for the owner', f))
  FROM unnest(ARRAY['verify', 'contract', 'finish', 'rollback']) f;
SELECT throws_ok($$SELECT zdm.rename_column('mine', 'a', 'b')$$, '42501', NULL, 'zdm.rename_column asks for the owner');
SELECT throws_ok($$SELECT zdm._sync_columns('mine', '{a}', '{b}', '{a}', '{b}', 'x')$$, '42501', NULL, '_sync_columns is a superuser''s');
SELECT throws_ok($$CREATE TABLE zdm.t ()$$, '42501', NULL, 'nothing is created in the schema');
RESET ROLE;
SELECT lives_ok($$SELECT zdm.rollback('rename_mine_a_to_b')$$);
DROP TABLE mine;
DROP ROLE regress_zdm_acl;

SELECT * FROM finish();
