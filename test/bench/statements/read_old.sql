\set id random(1, :rows)
SELECT name, balance FROM users WHERE id = :id;
