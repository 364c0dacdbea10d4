\set id random(1, :rows)
\set first random(1000, 9999)
\set last random(10000, 99999)
UPDATE users SET first_name = :first, last_name = :last WHERE id = :id;
