/*
 * Somebody else's DDL on a table with a migration in flight must not break
 * the application's writes.  What would is refused when it is tried.
 */

CREATE EVENT TRIGGER zdm_guard_alter ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE', 'ALTER INDEX', 'CREATE TRIGGER', 'ALTER TRIGGER', 'ALTER STATISTICS',
                 'CREATE VIEW', 'ALTER VIEW', 'CREATE RULE', 'GRANT', 'REVOKE', 'DROP OWNED')
    EXECUTE FUNCTION zdm._guard();
COMMENT ON EVENT TRIGGER zdm_guard_alter IS
'refuses DDL that takes away what a migration in flight needs, and repeats on a compatibility view, a second table or a second column what the first one is given';
CREATE EVENT TRIGGER zdm_guard_alter_start ON ddl_command_start
    WHEN TAG IN ('ALTER TABLE', 'DROP TABLE', 'GRANT', 'REVOKE', 'DROP OWNED')
    EXECUTE FUNCTION zdm._guard_start();
COMMENT ON EVENT TRIGGER zdm_guard_alter_start IS
'locks a compatibility view before its table, where the command changes both, notes whose privileges change, and refuses partitions of a mirrored table that come or go with rows';
CREATE EVENT TRIGGER zdm_guard_names ON ddl_command_end
    WHEN TAG IN ('ALTER AGGREGATE', 'ALTER COLLATION', 'ALTER DOMAIN', 'ALTER EXTENSION', 'ALTER FUNCTION', 'ALTER OPERATOR',
                 'ALTER ROUTINE', 'ALTER SCHEMA', 'ALTER TEXT SEARCH CONFIGURATION', 'ALTER TYPE')
    EXECUTE FUNCTION zdm._guard();
COMMENT ON EVENT TRIGGER zdm_guard_names IS
'refuses to rename or move what an expression of a migration in flight names';
CREATE EVENT TRIGGER zdm_guard_drop ON sql_drop
    EXECUTE FUNCTION zdm._guard();
COMMENT ON EVENT TRIGGER zdm_guard_drop IS
'refuses to drop the trigger of a migration in flight and what its expressions name, ends migrations whose table is dropped, and drops what stands for a dropped constraint or index';
CREATE EVENT TRIGGER zdm_guard_extension ON ddl_command_start
    WHEN TAG IN ('DROP EXTENSION')
    EXECUTE FUNCTION zdm._guard();
COMMENT ON EVENT TRIGGER zdm_guard_extension IS
'refuses to drop the extension while a migration is in flight';

/*
 * A publication FOR ALL TABLES has zdm's own, too.  The migrations of another
 * database are none of this one's.
 */
CREATE TRIGGER skip_applied BEFORE INSERT OR UPDATE OR DELETE ON zdm.migration
    FOR EACH ROW EXECUTE FUNCTION zdm._skip_applied();
ALTER TABLE zdm.migration ENABLE REPLICA TRIGGER skip_applied;
CREATE TRIGGER skip_applied BEFORE INSERT OR UPDATE OR DELETE ON zdm.step
    FOR EACH ROW EXECUTE FUNCTION zdm._skip_applied();
ALTER TABLE zdm.step ENABLE REPLICA TRIGGER skip_applied;
CREATE TRIGGER skip_applied BEFORE INSERT OR UPDATE OR DELETE ON zdm.sync_rule
    FOR EACH ROW EXECUTE FUNCTION zdm._skip_applied();
ALTER TABLE zdm.sync_rule ENABLE REPLICA TRIGGER skip_applied;
CREATE TRIGGER skip_applied BEFORE INSERT OR UPDATE OR DELETE ON zdm.mirror_rule
    FOR EACH ROW EXECUTE FUNCTION zdm._skip_applied();
ALTER TABLE zdm.mirror_rule ENABLE REPLICA TRIGGER skip_applied;
CREATE TRIGGER skip_applied BEFORE INSERT OR UPDATE OR DELETE ON zdm.mirror_difference
    FOR EACH ROW EXECUTE FUNCTION zdm._skip_applied();
ALTER TABLE zdm.mirror_difference ENABLE REPLICA TRIGGER skip_applied;
CREATE TRIGGER skip_applied BEFORE INSERT OR UPDATE OR DELETE ON zdm.backfill_range
    FOR EACH ROW EXECUTE FUNCTION zdm._skip_applied();
ALTER TABLE zdm.backfill_range ENABLE REPLICA TRIGGER skip_applied;
CREATE TRIGGER skip_applied BEFORE INSERT OR UPDATE OR DELETE ON zdm.event
    FOR EACH ROW EXECUTE FUNCTION zdm._skip_applied();
ALTER TABLE zdm.event ENABLE REPLICA TRIGGER skip_applied;
