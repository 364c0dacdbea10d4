\set value random(100000000, 999999999)
INSERT INTO users (name, balance) VALUES (:value, 0);
