\set id random(1, :rows)
SELECT full_name, balance FROM users WHERE id = :id;
