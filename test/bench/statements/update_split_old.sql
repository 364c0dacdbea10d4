\set id random(1, :rows)
\set value random(100000000, 999999999)
UPDATE users SET name = :value WHERE id = :id;
