-- What the broker needs beside it, once: an id that is text and is never reused, a name to be found by, a version, and a
-- place for what the table has no column for. E-mails are looked for as the broker writes them, in lower case.
ALTER TABLE users
	ADD COLUMN sub          TEXT    NOT NULL UNIQUE DEFAULT gen_random_uuid()::TEXT,
	ADD COLUMN username     TEXT    UNIQUE,
	ADD COLUMN shared_email BOOLEAN NOT NULL DEFAULT FALSE,
	ADD COLUMN profile      TEXT    NOT NULL DEFAULT '{}',
	ADD COLUMN version      BIGINT  NOT NULL DEFAULT 1;

UPDATE users SET email = lower(email), username = lower(email);

ALTER TABLE users ALTER COLUMN username SET NOT NULL;

CREATE INDEX users_email ON users (email);

CREATE UNIQUE INDEX users_own_email ON users (email) WHERE email <> '' AND NOT shared_email;
