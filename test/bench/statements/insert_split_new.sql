\set first random(1000, 9999)
\set last random(10000, 99999)
INSERT INTO users (first_name, last_name, balance) VALUES (:first, :last, 0);
