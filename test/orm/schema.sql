-- What the ORMs are asked about: a table that is to be renamed, and one that
-- refers to it.
CREATE TABLE users (
    id bigserial PRIMARY KEY,
    name text NOT NULL DEFAULT 'nobody',
    email varchar(80) UNIQUE,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE orders (
    id serial PRIMARY KEY,
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE
);
INSERT INTO users (name, email) VALUES ('first', 'first@example.com');
