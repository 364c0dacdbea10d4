\set n random(1, 1000000000)
INSERT INTO users ({name}, email) VALUES ('inserted by {app} ' || :n, gen_random_uuid()::text) RETURNING id, {name};
