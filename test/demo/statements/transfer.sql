\set id random(1, :rows)
\set aid random(1, :rows)
\set n random(1, 1000000000)
\set amount random(1, 100)
BEGIN;
SELECT {name}, balance FROM users WHERE id = :id FOR UPDATE;
UPDATE users SET {name} = 'charged by {app} ' || :n, balance = balance - :amount, updated_at = now() WHERE id = :id;
UPDATE pgbench_accounts SET abalance = abalance + :amount WHERE aid = :aid;
COMMIT;
