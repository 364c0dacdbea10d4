\set id random(1, :rows)
SELECT id, {name}, email, balance FROM users WHERE id = :id;
