\set id random(1, :rows)
\set n random(1, 1000000000)
UPDATE users SET {name} = 'updated by {app} ' || :n, updated_at = now() WHERE id = :id;
