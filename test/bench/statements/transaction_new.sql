\set id random(1, :rows)
\set value random(100000000, 999999999)
BEGIN;
SELECT full_name, balance FROM users WHERE id = :id;
UPDATE users SET full_name = :value WHERE id = :id;
COMMIT;
