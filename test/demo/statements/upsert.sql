\set id random(1, :rows)
\set n random(1, 1000000000)
INSERT INTO users ({name}, email) VALUES ('upserted by {app} ' || :n, 'user' || :id || '@example.org') ON CONFLICT (email) DO UPDATE SET {name} = excluded.{name}, updated_at = now() RETURNING id, {name};
