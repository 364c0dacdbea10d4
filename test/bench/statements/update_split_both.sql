\set id random(1, :rows)
\set first random(1000, 9999)
\set last random(10000, 99999)
\set value :first * 100000 + :last
UPDATE users SET name = :value, first_name = :first, last_name = :last WHERE id = :id;
