--
-- Rules that hold for every object of the extension, also for those to come:
-- each query lists what breaks one.
--
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS zdm;
CREATE TEMP VIEW functions AS
    SELECT p.oid::regprocedure::text AS name, p.* FROM pg_proc p WHERE pronamespace = 'zdm'::regnamespace;

-- no function has anybody else's rights
SELECT name FROM functions WHERE prosecdef;
-- each has a pinned path, but for those that pin it inside
SELECT name FROM functions WHERE proconfig IS DISTINCT FROM ARRAY['search_path=pg_catalog, pg_temp']
 ORDER BY name COLLATE "C";
-- nothing may be pushed down to a parallel worker or be called for its rows
SELECT name FROM functions WHERE prokind = 'f' AND (proparallel <> 'u' OR proleakproof);
-- a C symbol is named after its function
SELECT name, prosrc FROM functions WHERE prosrc <> 'zdm_' || proname;
-- who may call what
SELECT name, array_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END || ' ' || privilege_type ORDER BY grantee)
         FILTER (WHERE grantee IS NOT NULL) AS rights
  FROM functions LEFT JOIN LATERAL aclexplode(coalesce(proacl, acldefault('f', proowner))) ON grantee <> proowner
 GROUP BY name ORDER BY name COLLATE "C";
-- internal ones begin with an underscore, and only the triggers are everybody's
SELECT name FROM functions
 WHERE proname LIKE '\_%' AND proname NOT IN ('_sync_row', '_mirror', '_load') AND has_function_privilege('public', oid, 'EXECUTE');

-- nobody but the owner touches the tables; everybody reads the views
SELECT c.oid::regclass, relkind, grantee::regrole, privilege_type
  FROM pg_class c, aclexplode(coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's'::"char" ELSE 'r' END, relowner)))
 WHERE relnamespace = 'zdm'::regnamespace AND relkind IN ('r', 'S', 'v') AND grantee <> relowner
 ORDER BY c.oid::regclass::text COLLATE "C", privilege_type;
SELECT grantee::regrole, privilege_type FROM pg_namespace, aclexplode(nspacl)
 WHERE nspname = 'zdm' AND grantee <> nspowner;
-- what the views hide cannot be asked for behind them
SELECT oid::regclass FROM pg_class WHERE relnamespace = 'zdm'::regnamespace AND relkind = 'v'
   AND NOT coalesce(reloptions @> '{security_barrier=true}', false);

-- every object has a sentence to it, in lower case, that is no heading
SELECT pg_describe_object(classid, objid, 0), obj_description(objid, classid::regclass::name)
  FROM pg_depend d
 WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e'
   AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'zdm')
   AND NOT (classid = 'pg_class'::regclass AND (SELECT relkind FROM pg_class WHERE oid = objid) IN ('S', 'i'))
   AND classid <> 'pg_type'::regclass
   AND coalesce(length(obj_description(objid, classid::regclass::name)), 0) < 30;

-- what a dump takes along, and what it can put back elsewhere
SELECT c.oid::regclass FROM pg_class c
 WHERE relnamespace = 'zdm'::regnamespace AND relkind IN ('r', 'S', 'p')
   AND c.oid <> ALL (SELECT unnest(extconfig) FROM pg_extension WHERE extname = 'zdm');
SELECT attrelid::regclass, attname, atttypid::regtype FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
 WHERE relnamespace = 'zdm'::regnamespace AND relkind IN ('r', 'v') AND attnum > 0 AND NOT attisdropped
   AND atttypid IN ('oid'::regtype, 'oid[]'::regtype, 'regrole'::regtype, 'xid'::regtype, 'regproc'::regtype, 'regprocedure'::regtype);
-- each table has a key
SELECT oid::regclass FROM pg_class c WHERE relnamespace = 'zdm'::regnamespace AND relkind = 'r'
   AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary);
-- and each reference to another one an index, for the day that rows are removed
SELECT conname FROM pg_constraint x WHERE connamespace = 'zdm'::regnamespace AND contype = 'f'
   AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = conrelid AND indkey[0] = conkey[1]);

-- the views' own expressions are of pg_catalog alone, and so safe to read
SELECT DISTINCT c.oid::regclass, p.oid::regprocedure
  FROM pg_class c JOIN pg_rewrite r ON r.ev_class = c.oid
  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_proc'::regclass
  JOIN pg_proc p ON p.oid = d.refobjid
 WHERE c.relnamespace = 'zdm'::regnamespace AND p.pronamespace <> 'pg_catalog'::regnamespace;
-- the guards are on
SELECT evtname, evtevent, evtenabled, evttags FROM pg_event_trigger WHERE evtname LIKE 'zdm%' ORDER BY evtname COLLATE "C";
