\set value random(100000000, 999999999)
INSERT INTO users (name, full_name, balance) VALUES (:value, :value, 0);
