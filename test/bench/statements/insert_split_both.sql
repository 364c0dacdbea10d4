\set first random(1000, 9999)
\set last random(10000, 99999)
\set value :first * 100000 + :last
INSERT INTO users (name, first_name, last_name, balance) VALUES (:value, :first, :last, 0);
