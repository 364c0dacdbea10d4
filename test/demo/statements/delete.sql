\set id random(1, :rows)
DELETE FROM users WHERE id = :id RETURNING id, {name};
